"""Bots by e-mail: IMAP for what comes in, SMTP for what goes out."""
