"""The page of `sg-hub view`: scans in a browser on this machine, with what networks make of them.

`session` knows scans and networks, `uploads` the files that are dropped on the page, `server` the addresses of the
page, and `static/` is the page itself, with NiiVue (static/LICENSES.txt), which draws the slices.
"""
