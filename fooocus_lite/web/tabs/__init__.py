"""The tabs of the Advanced column: one file each, listed in `fooocus_lite.web.ui.TABS`."""
