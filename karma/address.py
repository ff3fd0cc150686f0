"""A server's address without the secrets that stand in it."""

import re

# Up to the last @ before a space or a quote: a password may hold any other character. A third slash
# begins the path of a file, which has no user.
USER = re.compile(r"(?<=://)(?!/)[^\s'\"]*@")
PASSWORD = re.compile(r"(?<=[?&]password=)[^\s'\"&]+")


def public(text: str) -> str:
    """``text`` (an address, or words that quote one) without user names and passwords."""
    return PASSWORD.sub("***", USER.sub("", text))
