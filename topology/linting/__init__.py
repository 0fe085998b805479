"""What is wrong with a gateway's configuration, before anybody finds out: rules in `rules`, one function each."""
