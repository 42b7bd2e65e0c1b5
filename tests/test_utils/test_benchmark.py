import time

import pytest
import torch

from mmfss.utils.benchmark import Ratio, alternate, peak_extra_memory, timed

MEBI = 2**20


def allocating(mebibytes: int) -> object:
    return lambda: torch.ones(mebibytes * MEBI, dtype=torch.uint8)


class TestRatio:

    def test_of_pairs(self) -> None:
        assert Ratio.of([2, 6, 4], [1, 1, 4]) == Ratio(median=2, low=1, high=6)
        assert str(Ratio(2, 1, 6)) == '2.0x (1.0-6.0)'

    @pytest.mark.parametrize('numerators, denominators', [([], []), ([1.], [1., 2.])])
    def test_no_pairs(self, numerators: list, denominators: list) -> None:
        with pytest.raises(ValueError, match='pairs'):
            Ratio.of(numerators, denominators)


class TestTime:

    def test_takes_turns_after_one_untimed_run_each(self) -> None:
        calls = []
        seconds = alternate(dict(a=lambda: calls.append('a'), b=lambda: calls.append('b')), repeats=3)
        assert ''.join(calls) == 'ab' + 'ababab'
        assert {name: len(times) for name, times in seconds.items()} == dict(a=3, b=3)

    def test_seconds(self) -> None:
        assert timed(lambda: time.sleep(0.02)) >= 0.02


class TestPeakMemory:

    def test_counts_the_peak_of_the_computation_alone(self) -> None:
        block = torch.ones(400 * MEBI, dtype=torch.uint8)
        extra = peak_extra_memory(allocating, 100)
        assert 95 * MEBI < extra < 150 * MEBI
        assert len(block)

    def test_errors_of_the_computation_come_through(self) -> None:
        with pytest.raises(RuntimeError):
            peak_extra_memory(allocating, -1)
