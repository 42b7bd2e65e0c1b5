"""Work of :mod:`mmfss.commands.app`."""
import argparse
from pathlib import Path
from typing import Any

from streamlit.web import bootstrap

from mmfss.app.settings import configure

SCRIPT = Path(__file__).parents[2] / 'app' / 'entry' / 'page_script.py'


def server_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of Streamlit's server: nothing is sent anywhere, errors stay in the log."""
    return {
        # With an address, Streamlit asks no service for the address of this machine.
        'server.address': args.address,
        'browser.serverAddress': 'localhost' if args.address in ('127.0.0.1', '0.0.0.0') else args.address,
        'server.port': args.port,
        'server.headless': args.no_browser,
        'server.showEmailPrompt': False,
        'server.fileWatcherType': 'none',
        'server.maxUploadSize': 20,
        'browser.gatherUsageStats': False,
        'client.showErrorDetails': 'none',
        'client.toolbarMode': 'viewer',
        'global.developmentMode': False,
    }


def run(args: argparse.Namespace) -> None:
    """Serve the page until it is interrupted."""
    configure(args.config, args.checkpoint, None if args.data is None else str(args.data),
              None if args.run is None else str(args.run), args.device)
    # As the command line of Streamlit does, which writes an option a.b as a_b
    options = {name.replace('.', '_'): value for name, value in server_options(args).items()}
    bootstrap.load_config_options(options)
    bootstrap.run(str(SCRIPT), False, [], options)
