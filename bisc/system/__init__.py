"""What a process needs: whole files, paths, memory, console, interruption, cases done side by side."""
