"""The commands' door: arguments, settings, help, and one line for a mistake."""
