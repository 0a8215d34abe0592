"""The broker as a whole: all protocols put together, as any Django project may use them."""
