"""Pictures of episodes."""
from .episode_panel import draw_episode
from .overlay import caption_image, class_palette, overlay_mask, tile_images

__all__ = ['caption_image', 'class_palette', 'draw_episode', 'overlay_mask', 'tile_images']
