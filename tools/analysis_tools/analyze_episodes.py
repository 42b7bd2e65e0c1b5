"""Show which episodes of a test went well: ``python tools/analysis_tools/analyze_episodes.py EPISODES_CSV``."""
from mmfss.commands.analyze_episodes import main

if __name__ == '__main__':
    main()
