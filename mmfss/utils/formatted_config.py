"""Config whose text is formatted once."""
from mmengine.config import Config


class FormattedConfig(Config):
    """Cache the formatted text of a config until it changes.

    A runner asks for ``pretty_text`` four times (log, file, visualizer, message hub), and formatting takes a second of
    computing each time.

    Example:
        >>> cfg = FormattedConfig.of(Config(dict(a=1)))
        >>> cfg.pretty_text is cfg.pretty_text
        True
    """

    @classmethod
    def of(cls, cfg: Config) -> 'FormattedConfig':
        """Wrap an ordinary config; the two share their content."""
        formatted = cls.__new__(cls)
        formatted.__dict__.update(cfg.__dict__)
        return formatted

    @property
    def pretty_text(self) -> str:
        """Return the config as formatted Python code."""
        content = repr(self.to_dict())
        known, text = self.__dict__.get('_formatted', (None, ''))
        if known != content:
            text = super().pretty_text
            # Past Config's own __setattr__, which would make it a key of the config.
            self.__dict__['_formatted'] = (content, text)
        return text
