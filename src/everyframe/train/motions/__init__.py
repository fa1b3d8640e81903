"""The built-in motion model: trained on rendered video alone (`render/`), frame by frame, and measured with its event rule."""
