"""The IM procedures, run inside Kamailio (KEMI). Only `adapter` touches KSR."""
