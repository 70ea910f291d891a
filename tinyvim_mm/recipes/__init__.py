"""The configs of this project by name, and what their metafiles say."""
