"""A line of a dump of comments: the 71 fields of an Arctic Shift row, most the same in every line.

In ``VALUES`` a text ``=name`` stands for a JSON value and ``%(name)s`` for a part of a text.
"""

import json
import re

VALUES = {
    "_meta": {"retrieved_2nd_on": "=second_look"},
    "author": "=author",
    "author_created_utc": "=registered",
    "author_flair_background_color": "=flair_background",
    "author_flair_richtext": "=flair_parts",
    "author_flair_text": "=flair",
    "author_flair_text_color": "=flair_color",
    "author_flair_type": "=flair_type",
    "author_fullname": "=fullname",
    "author_premium": "=premium",
    "body": "=body",
    "body_sha1": "%(sha1)s",
    "can_gild": True,
    "collapsed": "=collapsed",
    "controversiality": "=controversial",
    "created_utc": "=created",
    "distinguished": "=distinguished",
    "downs": 0,
    "edited": "=edited",
    "gilded": 0,
    "gildings": {},
    "id": "%(id)s",
    "is_submitter": "=submitter",
    "link_id": "t3_%(thread)s",
    "name": "t1_%(id)s",
    "no_follow": True,
    "parent_id": "=parent",
    "permalink": "/r/%(subreddit)s/comments/%(thread)s/%(slug)s/%(id)s/",
    "replies": "",
    "retrieved_on": "=retrieved",
    "score": "=score",
    "send_replies": True,
    "stickied": "=stickied",
    "subreddit": "%(subreddit)s",
    "subreddit_id": "t5_%(subreddit_id)s",
    "subreddit_name_prefixed": "r/%(subreddit)s",
    "subreddit_type": "public",
    "total_awards_received": 0,
    "ups": "=score",
}
NULL = (
    "approved_at_utc approved_by associated_award author_flair_css_class author_flair_template_id "
    "banned_at_utc banned_by collapsed_because_crowd_control collapsed_reason "
    "collapsed_reason_code comment_type likes mod_note mod_reason_by mod_reason_title num_reports "
    "removal_reason report_reasons top_awarded_type unrepliable_reason"
)
FALSE = "archived author_is_blocked author_patreon_flair can_mod_post locked saved score_hidden"
EMPTY = "all_awardings awarders mod_reports treatment_tags user_reports"


def template() -> str:
    """A line, to be filled with ``%``."""
    fields = VALUES | dict.fromkeys(NULL.split()) | dict.fromkeys(FALSE.split(), False)
    fields |= {name: [] for name in EMPTY.split()}
    text = json.dumps(dict(sorted(fields.items())), separators=(",", ":"))
    return re.sub(r'"=(\w+)"', r"%(\1)s", text) + "\n"
