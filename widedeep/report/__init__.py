"""Finished runs as a single self-contained page. The only room that uses Matplotlib and Jinja."""
