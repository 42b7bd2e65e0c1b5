"""Web pages of explanation runs."""
from .explanation_page import write_explanation_page
from .prototype_page import write_prototype_page

__all__ = ['write_explanation_page', 'write_prototype_page']
