"""Comparison of tested episodes with the published protocol."""
from typing import Any


def protocol_deviations(dataset: Any) -> list[str]:
    """List why results on these episodes are not comparable with papers; empty if they are.

    Args:
        dataset (EpisodicDataset | WrongSupportDataset): The tested dataset.

    Returns:
        list[str]: Reasons, in words.
    """
    dataset = getattr(dataset, 'dataset', dataset)
    meta, sampler = dataset.metainfo, dataset.sampler
    reasons = []
    if not meta['lists_official']:
        reasons.append(f'the split lists are not the official ones ({meta["lists"]})')
    # Episodes
    if type(sampler).__name__ != 'PublishedProtocolSampler':
        reasons.append(f'the episodes are drawn by {type(sampler).__name__}, not by the published protocol')
    else:
        lengths = sampler.published_lengths
        if meta['seed'] != 0 or meta['num_episodes'] not in lengths:
            reasons.append(f'{meta["num_episodes"]} episodes of seed {meta["seed"]} were tested instead of the '
                           f'published {" or ".join(map(str, lengths))} of seed 0')
    if meta['num_ways'] != 1:
        reasons.append(f'the episodes are {meta["num_ways"]}-way, the published ones 1-way')
    return reasons
