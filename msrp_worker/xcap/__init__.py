"""XCAP (RFC 4825): XML documents of users over HTTP, one application usage per kind of document (XDM-01)."""
