"""Pictures of episodes and of their explanations."""
from .attribution_panel import draw_attributions
from .episode_panel import draw_episode
from .explanation_page import write_explanation_page
from .heatmap import draw_outline, heat_colours, overlay_heat, scale_heat
from .overlay import caption_image, class_palette, overlay_mask, tile_images

__all__ = [
    'caption_image', 'class_palette', 'draw_attributions', 'draw_episode', 'draw_outline', 'heat_colours',
    'overlay_heat', 'overlay_mask', 'scale_heat', 'tile_images', 'write_explanation_page'
]
