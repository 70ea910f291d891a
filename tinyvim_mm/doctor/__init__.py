"""``tinyvim-mm doctor``: what of an installation works, what does not, and the cure.

Nothing is imported before its check: a broken package is a finding, not a traceback.
"""
