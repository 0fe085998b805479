"""Why a caller got its answer: evidence gathered as values, causes told apart by comparing them."""
