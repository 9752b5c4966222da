"""What the scripts are called with and what they reply: their texts, arguments and keys, and the decisions read from replies."""
