"""What a label map says in numbers: areas, kidneys and tumours one by one."""
