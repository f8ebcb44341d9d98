"""As much of SVG as the book's pictures need: rectangles, words, and a file to put them in."""

from pathlib import Path
from xml.sax.saxutils import escape

PALE, GREY = "#eef0f3", "#9aa3ad"
COLOURS = ("#3b76af", "#ef8536", "#519e3e", "#8d69b8", "#c44e52", "#85584e")


class Picture:
    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            f' fill="{fill}"/>'
        )

    def text(
        self, x: float, y: float, words: str, *, size: int = 12, fill: str = "#24292f"
    ) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"'
            f' font-family="monospace">{escape(words)}</text>'
        )

    def write(self, file: Path) -> None:
        file.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
            f' width="{self.width}" height="{self.height}">\n'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n",
            encoding="utf-8",
        )
