"""The stage ``reward``: models that say how a reply will be valued, each with its own view."""
