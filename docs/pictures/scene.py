"""Renders a still life on which noise can be judged: flat, detailed, bright and dark places, lines, a colour chart.

    python docs/pictures/scene.py scene.png

A small ray tracer in numpy; it takes minutes. Every pixel has the same rays and the same points of the lights, so the
picture has no noise of its own, and is the same each time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noisegen.png import encode_png

Array = NDArray[np.float32]
Texture = Callable[[Array], Array]  # points of a body [3, N], in its own coordinates -> linear RGB [3, N]

WIDTH, HEIGHT = 1200, 800
ROWS = 4  # rendered together: few, for the processor's cache
RAYS_ACROSS = 4  # 4 x 4 rays for each pixel
EYE = np.float32([0.0, 2.75, 8.2])
LOOK_AT = np.float32([0.0, 0.98, 0.0])
VIEW_WIDTH = 0.78  # of the picture, at distance 1
EXPOSURE = 1.55

# the window that lights the scene: its middle, and half of its width and height as vectors
WINDOW = np.float32([-5.2, 5.6, 4.6])
WINDOW_ACROSS = np.float32([0.9, 0.0, 1.0])
WINDOW_UP = np.float32([0.45, 1.2, -0.42])
WINDOW_LIGHT = np.float32([52.0, 49.0, 44.0])
LANTERN_LIGHT = np.float32([1.5, 0.95, 0.5])
SKY = np.float32([0.30, 0.33, 0.38])
WINDOW_POINTS, LANTERN_POINTS, SKY_POINTS = 4, 1, 4  # for each ray; 16 times as many for a pixel


def linear(colour: str) -> Array:
    """Linear RGB [3, 1] of "rrggbb"."""
    value = np.float32([int(colour[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)[
        :, None
    ]


def plain(colour: str) -> Texture:
    rgb = linear(colour)
    return lambda p: np.broadcast_to(rgb, p.shape)


def dot(a: Array, b: Array) -> Array:
    """Of vectors [3, N]; several times faster than a sum over the axis."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@dataclass(frozen=True)
class Body:
    """A sphere (`half` is None) or a box turned by `turn` radians about the vertical."""

    centre: tuple[float, float, float]
    texture: Texture
    radius: float = 0.0
    half: tuple[float, float, float] | None = None
    turn: float = 0.0
    mirror: float = 0.0  # share of light that is mirrored where seen straight on
    glow: float = 0.0

    def inside_out(self, v: Array) -> Array:
        """Turns vectors of the world [3, N] into the body's own coordinates."""
        if self.turn == 0:
            return v
        c, s = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        return np.stack([c * v[0] - s * v[2], v[1], s * v[0] + c * v[2]])

    def local(self, points: Array) -> Array:
        return self.inside_out(points - np.float32(self.centre)[:, None])

    def distance(self, origin: Array, direction: Array) -> Array:
        """How far rays [3, N] go until they meet the body, [N]; infinite for those that miss it."""
        start, way = self.local(origin), self.inside_out(direction)
        if self.half is None:
            b = dot(start, way)
            under = b * b - dot(start, start) + np.float32(self.radius**2)
            near = -b - np.sqrt(np.maximum(under, 0))
            return np.where((under > 0) & (near > 1e-3), near, np.float32(np.inf))
        inverse = 1 / np.where(np.abs(way) < 1e-6, np.float32(1e-6), way)
        middle = -start * inverse
        reach = np.float32(self.half)[:, None] * np.abs(inverse)
        enter, leave = middle - reach, middle + reach
        near = np.maximum(np.maximum(enter[0], enter[1]), enter[2])
        far = np.minimum(np.minimum(leave[0], leave[1]), leave[2])
        return np.where((near < far) & (near > 1e-3), near, np.float32(np.inf))

    def normal(self, points: Array) -> Array:
        """Unit vectors [3, N] away from the surface, of the world."""
        at = self.local(points)
        if self.half is None:
            at = at / np.float32(self.radius)
        else:
            share = np.abs(at) / np.float32(self.half)[:, None]
            at = np.where(share == share.max(0), np.sign(at), 0).astype(np.float32)
        c, s = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        return np.stack([c * at[0] + s * at[2], at[1], -s * at[0] + c * at[2]])


def scatter(p: Array) -> Array:
    """Smooth irregular values in 0 .. 1 at points [3, N], about one bump for each unit of length."""
    floor = np.floor(p)
    share = p - floor
    share = share * share * (3 - 2 * share)
    cell = floor.astype(np.int32).view(np.uint32)
    total = np.zeros(p.shape[1], np.float32)
    for corner in range(8):
        at = [(corner >> axis) & 1 for axis in range(3)]
        h = (cell[0] + np.uint32(at[0])) * np.uint32(0x8DA6B343)
        h ^= (cell[1] + np.uint32(at[1])) * np.uint32(0xD8163841)
        h ^= (cell[2] + np.uint32(at[2])) * np.uint32(0xCB1AB31F)
        h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
        h ^= h >> np.uint32(13)
        weight = np.float32(2.0**-32)
        for axis in range(3):
            weight = weight * (share[axis] if at[axis] else 1 - share[axis])
        total += weight * h.astype(np.float32)
    return total


def cloud(p: Array, octaves: int = 4) -> Array:
    """Irregular values in 0 .. 1 with detail of several sizes."""
    parts = [scatter(p * 2**i + np.float32(17.3 * i)) * np.float32(0.5**i) for i in range(octaves)]
    return np.asarray(sum(parts), np.float32) / np.float32(2 - 0.5 ** (octaves - 1))


def mix(first: Array, second: Array, share: Array) -> Array:
    return first + (second - first) * share


def stretched(p: Array, *scale: float) -> Array:
    return p * np.float32(scale)[:, None]


def wood(dark: str, light: str) -> Texture:
    a, b = linear(dark), linear(light)

    def texture(p: Array) -> Array:
        bent = cloud(stretched(p, 0.5, 1.1, 1.3), 2)
        rings = 0.5 + 0.5 * np.sin(6.28 * (1.7 * p[2] + 1.3 * p[1] + 3.2 * bent))
        fibres = scatter(stretched(p, 3.0, 70.0, 90.0))
        return mix(a, b, 0.55 * rings + 0.45 * fibres)

    return texture


def table_top(p: Array) -> Array:
    """Planks, and across them a woven cloth with a checked border."""
    plank = np.floor(p[2] / 0.9)
    boards = wood("5a3a22", "a9764a")(p + np.stack([7.7 * plank, 3.1 * plank, 0 * plank]).astype(np.float32))
    boards = boards * np.where(np.abs(p[2] / 0.9 - plank - 0.5) > 0.488, np.float32(0.25), np.float32(1))
    threads = np.sin(p[0] * 260) * np.sin(p[2] * 260)
    checks = (np.floor(p[0] / 0.13) + np.floor(p[2] / 0.13)) % 2
    cloth = mix(linear("d9d2c0"), linear("e8e3d6"), (threads > 0).astype(np.float32))
    border = mix(linear("28456b"), linear("d7dbe0"), np.abs(checks))
    edge = np.abs(p[2] - 0.65)
    cloth = np.where((edge > 0.72) & (edge < 1.11), border * (1 + np.float32(0.08) * threads), cloth)
    return np.where((edge < 1.25) & (p[0] < 1.75), cloth, boards)


def marble(p: Array) -> Array:
    veins = np.abs(np.sin(3.5 * p[0] + 2.2 * p[1] + 7 * cloud(p * 2.2, 5))) ** np.float32(0.4)
    return mix(linear("e9e4d4"), linear("14506b"), veins)


def stripes(p: Array) -> Array:
    turn = np.arctan2(p[0] + 0.35 * p[1], p[2]) / np.float32(np.pi)
    which = np.floor((turn + 1) * 6).astype(np.int32) % 4
    colours = np.concatenate([linear(c) for c in ("c8322b", "f2ead9", "e0a526", "f2ead9")], axis=1)
    return colours[:, which]


def orange(p: Array) -> Array:
    return mix(linear("d9660a"), linear("f59a1c"), cloud(p * 22, 2))


def yarn(p: Array) -> Array:
    """A ball of wool, wound in three directions."""
    way = np.argmax(np.stack([scatter(p * 3.1 + k) for k in (1.5, 9.5, 23.5)]), axis=0)
    across = np.choose(way, [p[0] + 0.6 * p[1], p[1] - 0.5 * p[2], p[2] + 0.7 * p[0]])
    thread = 0.5 + 0.5 * np.sin(across * 115)
    return mix(linear("3a1631"), linear("b65a94"), thread * (0.75 + 0.25 * scatter(p * 60)))


def lantern(p: Array) -> Array:
    ribs = 1 - np.float32(0.35) * (np.abs(np.sin(p[1] * 21)) < 0.12)
    return linear("ffd9a0") * ribs * (0.9 + 0.1 * scatter(p * 30))


def on_front(p: Array, half: tuple[float, float, float], margin: float) -> tuple[Array, Array, Array]:
    """Coordinates 0 .. 1 within the margin of a box's front, and where that is."""
    u = (p[0] + half[0] - margin) / (2 * (half[0] - margin))
    v = (half[1] - margin - p[1]) / (2 * (half[1] - margin))
    return u, v, (p[2] > half[2] - 1e-3) & (u >= 0) & (u < 1) & (v >= 0) & (v < 1)


CHART = (0.78, 0.56, 0.03)
# fmt: off
COLOURS = (
    "6e4b3c", "c29079", "5c7a9d", "586b3f", "8280b0", "66bdaa",
    "d87d2e", "4a5aa4", "c0545f", "5b3b6b", "9fbc3f", "e3a32f",
    "2f3c94", "459549", "b0303b", "e8c71e", "b95493", "1085a1",
    "f2f2ee", "c8c8c6", "a0a09e", "787876", "535352", "333332",
)
# fmt: on


def colour_chart(p: Array) -> Array:
    u, v, front = on_front(p, CHART, 0.05)
    column, row = np.clip(u * 6, 0, 5.999), np.clip(v * 4, 0, 3.999)
    inner = (np.abs(column % 1 - 0.5) < 0.43) & (np.abs(row % 1 - 0.5) < 0.43)
    patches = np.concatenate([linear(c) for c in COLOURS], axis=1)
    patch = patches[:, row.astype(int) * 6 + column.astype(int)]
    return np.where(front & inner, patch, linear("1c1c1c"))


LINES = (0.62, 0.74, 0.03)


def line_chart(p: Array) -> Array:
    """A star of 36 rays, and below it lines that become finer from left to right."""
    u, v, front = on_front(p, LINES, 0.05)
    x, y = (u - 0.5) * 2, (v - 0.36) * 2.35
    star = (np.floor(np.arctan2(y, x) * 36 / np.float32(np.pi)) % 2 == 0) & (x * x + y * y < 0.62)
    step = np.floor(np.clip(u, 0, 0.999) * 5)
    count = np.float32(10) * 2 ** (step * np.float32(0.6))  # pairs of lines for each unit of u
    ink = np.where(
        v < 0.73, star, (np.where(v > 0.86, v * 1.2, u) * count % 1 < 0.5) & ((v > 0.76) & (v < 0.97))
    )
    ink &= (v < 0.73) | (np.abs(u * 5 - step - 0.5) < 0.44)
    return np.where(front & ~ink, linear("f0eee6"), linear("141414"))


def cabinet(x: float, z: float, half: tuple[float, float, float]) -> list[Body]:
    """An open dark box of five boards: the dark corner."""
    w, h, d = half
    board, dark = 0.05, wood("1e130c", "3a2516")
    return [
        Body((x - w, h, z), half=(board, h, d), texture=dark),
        Body((x + w, h, z), half=(board, h, d), texture=dark),
        Body((x, 2 * h, z), half=(w + board, board, d), texture=dark),
        Body((x, h, z - d), half=(w, h, board), texture=dark),
        Body((x, h * 0.95, z), half=(w, board * 0.6, d - 0.02), texture=dark),
    ]


TABLE = Body((0, -0.2, 0), half=(9, 0.2, 3.9), texture=table_top)
WALL = Body((0, 4, -3.6), half=(9, 5, 0.2), texture=plain("8d9d96"))
LANTERN = Body((-2.55, 1.95, -1.9), radius=0.5, texture=lantern, glow=2.2)
BODIES = [
    TABLE,
    WALL,
    LANTERN,
    Body((-2.55, 0.71, -1.9), half=(0.035, 0.71, 0.035), texture=plain("2a2320")),
    Body((-2.55, 0.04, -1.9), half=(0.3, 0.04, 0.3), texture=plain("2a2320"), mirror=0.04),
    Body((-1.05, 0.78, -0.75), radius=0.78, texture=marble, mirror=0.05),
    Body((0.28, 0.42, 0.75), radius=0.42, texture=stripes, mirror=0.05),
    Body((-2.05, 0.36, 0.75), radius=0.36, texture=orange, mirror=0.03),
    Body((-0.72, 0.3, 1.35), radius=0.3, texture=plain("c8ccd0"), mirror=0.85),
    Body((1.3, 0.4, 1.05), radius=0.4, texture=yarn),
    Body((-1.42, 0.17, 1.95), radius=0.17, texture=plain("1d7a4a"), mirror=0.06),
    Body((0.36, 0.13, 1.95), radius=0.13, texture=plain("2440a0"), mirror=0.06),
    Body((0.78, 0.1, 2.1), radius=0.1, texture=plain("d8b61c"), mirror=0.06),
    Body((2.25, 0.09, 1.35), half=(0.62, 0.09, 0.42), turn=0.35, texture=plain("2b4a3a")),
    Body((2.25, 0.25, 1.35), half=(0.55, 0.07, 0.38), turn=0.1, texture=plain("8c2f2a")),
    Body((2.25, 0.54, 1.35), radius=0.22, texture=plain("e9e6df")),
    Body((0.62, CHART[1], -1.5), half=CHART, turn=0.12, texture=colour_chart),
    Body((0.3, 2.36, -3.37), half=LINES, texture=line_chart),
    *cabinet(2.5, -1.6, (0.95, 1.15, 0.75)),
    Body((2.1, 0.33, -1.45), radius=0.33, texture=plain("46688c"), mirror=0.04),
    Body((2.85, 0.28, -1.5), half=(0.2, 0.28, 0.2), turn=0.5, texture=stripes),
    Body((2.25, 1.4, -1.5), half=(0.42, 0.28, 0.3), turn=-0.2, texture=plain("7a5230")),
]
SHADES = [body for body in BODIES if body not in (TABLE, WALL, LANTERN)]  # what can stand in the light


def surroundings(direction: Array) -> Array:
    """What mirrors see beyond the scene: a dim room with the window, which has a cross of wood."""
    way = WINDOW - LOOK_AT
    share = (way @ np.cross(WINDOW_ACROSS, WINDOW_UP)) / (np.cross(WINDOW_ACROSS, WINDOW_UP) @ direction)
    at = direction * share - way[:, None]
    u = WINDOW_ACROSS @ at / (WINDOW_ACROSS @ WINDOW_ACROSS)
    v = WINDOW_UP @ at / (WINDOW_UP @ WINDOW_UP)
    pane = (share > 0) & (np.abs(u) < 1) & (np.abs(v) < 1) & (np.abs(u) > 0.06) & (np.abs(v) > 0.05)
    room = SKY[:, None] * (0.25 + 0.45 * np.clip(direction[1] * 0.6 + 0.4, 0, 1))
    return np.where(pane, np.float32([[5.0], [4.9], [4.6]]), room)


def spread(index: Array) -> tuple[Array, Array]:
    """Points spread evenly over the unit square."""
    return (index * 0.7548776662 + 0.5) % 1, (index * 0.5698402910 + 0.5) % 1


def lit(points: Array, normals: Array, ray: int) -> Array:
    """Light that reaches the points [3, N] past the other bodies."""
    total = np.zeros_like(points)

    def add(direction: Array, far: Array | np.float32, light: Array) -> None:
        facing = dot(normals, direction)
        seen = np.flatnonzero(facing > 0)
        origin, way = points[:, seen], direction[:, seen]
        reach = far[seen] if isinstance(far, np.ndarray) else far
        free = np.ones(len(seen), bool)
        for body in SHADES:
            free &= ~(body.distance(origin, way) < reach)
        seen = seen[free]
        total[:, seen] += facing[seen] * light[:, seen]

    def add_point(at: Array, colour: Array) -> None:
        way = at[:, None] - points
        far = np.sqrt(dot(way, way))
        add(way / far, far, colour[:, None] / (far * far))

    numbers = ray + RAYS_ACROSS**2 * np.arange(8)
    for u, v in zip(*spread(numbers[:WINDOW_POINTS]), strict=True):
        add_point(
            WINDOW + np.float32(2 * u - 1) * WINDOW_ACROSS + np.float32(2 * v - 1) * WINDOW_UP,
            WINDOW_LIGHT / WINDOW_POINTS,
        )
    for u, v in zip(*spread(numbers[:LANTERN_POINTS]), strict=True):
        offset = 0.45 * np.float32(
            [np.cos(6.2832 * u) * np.sin(3.1416 * v), np.cos(3.1416 * v), np.sin(6.2832 * u)]
        )
        add_point(np.float32(LANTERN.centre) + offset, LANTERN_LIGHT / LANTERN_POINTS)
    for u, v in zip(*spread(numbers[:SKY_POINTS]), strict=True):
        flat = np.sqrt(1 - v * v)
        way = np.float32([flat * np.cos(6.2832 * u), v, flat * np.sin(6.2832 * u)])
        sky = np.broadcast_to((SKY * 2 / SKY_POINTS)[:, None], points.shape)
        add(np.broadcast_to(way[:, None], points.shape), np.float32(np.inf), sky)
    bounced = np.float32([[0.10], [0.08], [0.06]]) * np.clip(0.6 - normals[1], 0, 1.2)
    return total + bounced * np.exp(-np.maximum(points[1], 0) * 0.8)


def colours(origin: Array, direction: Array, ray: int, mirrored: bool = False) -> Array:
    """Linear RGB [3, N] that rays bring back."""
    distances = np.stack([body.distance(origin, direction) for body in BODIES])
    which = distances.argmin(0)
    reach = distances.min(0)
    out = surroundings(direction)
    hit = np.flatnonzero(np.isfinite(reach))
    points = origin[:, hit] + direction[:, hit] * reach[hit]
    normals, albedo = np.empty_like(points), np.empty_like(points)
    mirror, glow = np.zeros(len(hit), np.float32), np.zeros(len(hit), np.float32)
    for number in np.unique(which[hit]):
        of = which[hit] == number
        body = BODIES[number]
        normals[:, of] = body.normal(points[:, of])
        albedo[:, of] = body.texture(body.local(points[:, of]))
        mirror[of], glow[of] = body.mirror, body.glow
    colour = albedo * (lit(points + normals * np.float32(2e-3), normals, ray) * (glow == 0) + glow)
    shiny = np.flatnonzero(mirror > 0)
    if not mirrored and len(shiny):
        way, normal = direction[:, hit[shiny]], normals[:, shiny]
        along = dot(way, normal)
        share = mirror[shiny] + (1 - mirror[shiny]) * np.clip(1 + along, 0, 1) ** 5
        back = colours(
            points[:, shiny] + normal * np.float32(2e-3), way - 2 * along * normal, ray, mirrored=True
        )
        colour[:, shiny] = mix(colour[:, shiny], back, share)
    out[:, hit] = colour
    return out


def render_rows(top: int) -> NDArray[np.uint8]:
    """Some rows of the picture, uint8 [ROWS, WIDTH, 3]."""
    forward = (LOOK_AT - EYE) / np.linalg.norm(LOOK_AT - EYE)
    right = np.float32([1, 0, 0])
    up = np.cross(right, forward)
    rows, columns = np.mgrid[top : top + ROWS, :WIDTH].astype(np.float32).reshape(2, -1)
    total = np.zeros((3, rows.size), np.float32)
    for ray in range(RAYS_ACROSS**2):
        across, down = (ray % RAYS_ACROSS + 0.5) / RAYS_ACROSS, (ray // RAYS_ACROSS + 0.5) / RAYS_ACROSS
        x = ((columns + across) / WIDTH - 0.5) * VIEW_WIDTH
        y = (HEIGHT / 2 - rows - down) / WIDTH * VIEW_WIDTH
        way = forward[:, None] + right[:, None] * x + up[:, None] * y
        way = (way / np.sqrt(dot(way, way))).astype(np.float32)
        total += colours(np.broadcast_to(EYE[:, None], way.shape), way, ray)
    # into the range of a picture as film does it: bright places lose contrast softly
    light = 1 - np.exp(-total / RAYS_ACROSS**2 * EXPOSURE)
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8).T.reshape(ROWS, WIDTH, 3)


def render() -> NDArray[np.uint8]:
    """The picture, uint8 [HEIGHT, WIDTH, 3], by all processors."""
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(render_rows, range(0, HEIGHT, ROWS))))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].endswith(".png"):
        sys.exit("usage: python docs/pictures/scene.py PICTURE.png")
    Path(sys.argv[1]).write_bytes(encode_png(render(), level="small"))
