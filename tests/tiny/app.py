"""A tiny training-free model with its config and checkpoint, pictures of coloured shapes, and the page in a process."""
import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS, register_all_modules
from tests.tiny.data import PIPELINE
from tests.tiny.model import TINY_MODEL

MODEL = dict(TINY_MODEL, head=dict(type='PrototypeMatchingHead', layers=[(-3, -1), (-2, -1)], mode='cosine'))
RED, GREEN, BLUE = (220, 40, 40), (40, 200, 60), (40, 60, 220)


def write_model(folder: Path, seed: int = 0) -> tuple[str, str]:
    """Write config and checkpoint; returns their names."""
    register_all_modules(init_default_scope=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: FewShotSegmentor = MODELS.build(MODEL)
    config, checkpoint = folder / 'tiny_matching.py', folder / 'tiny_matching.pth'
    Config(dict(default_scope='mmfss', model=MODEL, test_dataloader=dict(dataset=dict(pipeline=PIPELINE)))).dump(config)
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    return str(config), str(checkpoint)


def picture(colour: tuple[int, int, int], box: tuple[int, int, int, int] = (20, 15, 60, 45),
            size: tuple[int, int] = (64, 96), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A grey, noisy picture (H, W, 3) RGB with a coloured box (left, top, right, bottom), and its mask (H, W)."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 130, (*size, 3))
    mask = np.zeros(size, dtype=np.uint8)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = 1
    image[mask == 1] = np.array(colour) + rng.integers(-20, 20, (int(mask.sum()), 3))
    return image.clip(0, 255).astype(np.uint8), mask


def serve(folder: Path, port: int, log: Path) -> None:
    """Serve the page with the tiny model; every connection to another machine is written to a file."""
    import sys

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):
            address = arguments[1] if event != 'socket.getaddrinfo' else arguments[0]
            host = address[0] if isinstance(address, tuple) else address
            if host not in ('127.0.0.1', '::1', 'localhost', '', None) and not str(host).startswith('/'):
                with log.open('a') as file:
                    file.write(f'{event} {arguments[1:]}\n')

    sys.addaudithook(watch)
    from mmfss.commands import app
    config, checkpoint = write_model(folder)
    sys.argv = ['app.py', '--config', config, '--checkpoint', checkpoint, '--port', str(port), '--no-browser']
    app.main()


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    parser.add_argument('port', type=int)
    parser.add_argument('log', type=Path)
    serve(**vars(parser.parse_args()))
