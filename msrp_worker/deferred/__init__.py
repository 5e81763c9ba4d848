"""The Deferred Messaging Function (chapter 10): messages that waited are pushed, fetched and told about.

Pure: `payload` (how a stored message travels), `summary` (what waits, RFC 3842), `request` (what an INVITE asks for),
`delivery` (the state table of one delivery), `subscription` (RFC 6665 for message-summary).
"""
