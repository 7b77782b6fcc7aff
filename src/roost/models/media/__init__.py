"""Images, sound, videos and files of a request, checked and made to fit; and what is known of their bytes."""
