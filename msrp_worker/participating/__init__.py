"""The participating function in the media path: a B2BUA with an MSRP hop between its two legs (6.2.3.2, 6.2.7)."""
