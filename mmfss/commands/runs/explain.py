"""Work of :mod:`mmfss.commands.explain`."""
import argparse
from pathlib import Path

from mmfss.engine.model_weights import set_checkpoint
from mmfss.engine.runner_setup import prepare_config
from mmfss.engine.short_start import build_runner
from mmfss.explanation.choose_loop import choose_loop
from mmfss.utils.files import check_writable


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments."""
    cfg = prepare_config(args)
    loop = choose_loop(cfg)
    loop.configure(cfg, args)
    check_writable(Path(cfg.test_cfg.out_dir), 'folder', '--out')
    set_checkpoint(cfg, args.checkpoint)
    runner = build_runner(cfg)
    runner.test()
    if runner.rank == 0:
        out = runner.test_loop.folder.root
        print(f'\n{runner.test_loop.results["markdown"]}\ntable:   {out / "table.md"}, {loop.result_files}\n'
              f'browse:  {out / "index.html"}', flush=True)
