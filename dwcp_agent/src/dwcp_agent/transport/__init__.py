"""The data path: frames over several TLS streams.

A transfer is opened with a ticket. Every stream begins with HELLO (ticket, name, size, chunk size; the transfer's number stands in the
frame header), sends DATA frames, each one chunk of the file, and ends with FIN. Exactly one stream ends with END (SHA-256 of the whole)
instead; it is answered with RECEIPT or ERROR once every chunk has arrived. A stream that has ended may begin with another HELLO. Whatever
goes wrong is one ERROR frame, and then the connection is closed.
"""
