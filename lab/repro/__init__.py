"""What somebody reported (mails, logs, configurations) → facts → a matrix file. Pure: bytes and texts in, values out."""
