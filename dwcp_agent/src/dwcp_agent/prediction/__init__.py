"""What a link will carry next, and who gets how much of it: samples in, forecasts and shares out, nothing read or sent.

Which model speaks, how it was trained and how good it is: ``docs/prediction.md``.
"""
