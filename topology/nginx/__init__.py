"""nginx configurations as nginx itself takes them: read with their places, includes followed, inheritance resolved."""
