"""What is kept on disk, and how it changes without ever being half there."""
