"""What a label map says in numbers: sizes, places, contacts, nephrometry, intervals; and as surfaces."""
