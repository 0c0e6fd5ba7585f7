"""One operator verb a file: arguments in, a :class:`~golive.verbs.result.Result` out."""
