"""Finished runs as one page that needs nothing beside it. The only room that knows Matplotlib and Jinja."""
