"""Pictures of episodes and of explanations."""
from .attribution_panel import draw_attributions
from .decomposition import draw_decomposition
from .episode_panel import draw_episode
from .heatmap import draw_outline, heat_colours, overlay_heat, scale_heat
from .overlay import caption_image, class_palette, overlay_mask, tile_images, to_rgb
from .pages.explanation_page import write_explanation_page
from .pages.prototype_page import write_prototype_page

__all__ = [
    'caption_image', 'class_palette', 'draw_attributions', 'draw_decomposition', 'draw_episode', 'draw_outline',
    'heat_colours', 'overlay_heat', 'overlay_mask', 'scale_heat', 'tile_images', 'to_rgb', 'write_explanation_page',
    'write_prototype_page'
]
