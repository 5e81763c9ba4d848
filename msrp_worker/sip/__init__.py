"""The worker's SIP legs: dialogs and INVITE usages on Kamailio's transaction layer.

`port` is all that this package knows of Kamailio, `leg` is the pure machine of one dialog, `shell` runs the machines.
Between them stands one small pure module for each rule book: `dialog` (RFC 3261 section 12), `invite` (13 to 15),
`reliable` (RFC 3262), `session_timer` (RFC 4028), `offer_answer` (RFC 3264, 3311), `replaces` (RFC 3891).
"""
