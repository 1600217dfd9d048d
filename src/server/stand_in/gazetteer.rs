//! The towns of the world that are built into the program, and the search for the near ones.
//!
//! Owns the table `towns.tsv` (its source and licence are in `NOTICE` beside it) and the geometry of
//! distances on a sphere. Never does I/O: the text is part of the executable, and is parsed once at
//! start. [`super::answer`] asks it one question for each request.

use std::collections::BTreeSet;

/// The table as it lies in the source tree; the header lines of the file say what is in it.
const TOWNS_TSV: &str = include_str!("towns.tsv");

/// The mean radius of the earth as the International Union of Geodesy and Geophysics defines it.
/// A sphere of that size is off by at most half a per cent, which is less than towns are wide.
const EARTH_RADIUS_METRES: f64 = 6_371_008.8;

/// How much wider than the radius the searched band of latitudes is. Rounding can make a distance
/// due north come out some nanometres too short; a metre is far more than that, and costs nothing.
const BAND_SLACK_METRES: f64 = 1.0;

/// A town, or a district of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Town<'a> {
    /// Its number in the source: `https://www.geonames.org/5368361` is Los Angeles.
    pub id: u32,
    /// Its name in Latin letters, as the source writes it.
    pub name: &'a str,
    /// Degrees north, WGS 84.
    pub latitude: f64,
    /// Degrees east, WGS 84.
    pub longitude: f64,
    /// Inhabitants.
    pub population: u32,
    /// Two letters of ISO 3166.
    pub country: &'a str,
}

/// All towns, in the order of their latitude.
#[derive(Debug)]
pub struct Gazetteer<'a> {
    towns: Vec<Town<'a>>,
}

impl Gazetteer<'static> {
    /// The towns that are built into the program. A test holds that this does not fail.
    pub fn built_in() -> Result<Self, String> {
        Gazetteer::parse(TOWNS_TSV)
    }
}

impl<'a> Gazetteer<'a> {
    /// The towns nearest to a point in degrees, the nearest first: at most `at_most` of them, each
    /// with its distance in metres, none farther than `radius_metres` (which is itself near enough).
    /// Of towns equally far the lesser number comes first, so that equal questions get equal answers.
    ///
    /// Two points are never nearer than their difference in latitude, so only the towns of a band
    /// of latitudes are looked at. That holds beyond the poles too; and since the distance formula
    /// takes any difference in longitude, the line at ±180° needs no care at all.
    pub fn nearest(
        &self,
        latitude: f64,
        longitude: f64,
        radius_metres: f64,
        at_most: usize,
    ) -> Vec<(&Town<'a>, f64)> {
        let half_band = ((radius_metres + BAND_SLACK_METRES) / EARTH_RADIUS_METRES).to_degrees();
        let mut near: Vec<(&Town<'a>, f64)> = self
            .band(latitude - half_band, latitude + half_band)
            .iter()
            .map(|town| (town, distance_metres(latitude, longitude, town.latitude, town.longitude)))
            .filter(|(_, distance)| *distance <= radius_metres)
            .collect();
        near.sort_by(|(a, near_a), (b, near_b)| near_a.total_cmp(near_b).then(a.id.cmp(&b.id)));
        near.truncate(at_most);
        near
    }

    /// The towns between two latitudes, both included.
    fn band(&self, south: f64, north: f64) -> &[Town<'a>] {
        let first = self.towns.partition_point(|town| town.latitude < south);
        let end = self.towns.partition_point(|town| town.latitude <= north);
        self.towns.get(first..end).unwrap_or_default()
    }

    /// How many towns there are.
    pub fn town_count(&self) -> usize {
        self.towns.len()
    }

    /// How many countries they lie in.
    pub fn country_count(&self) -> usize {
        self.towns.iter().map(|town| town.country).collect::<BTreeSet<_>>().len()
    }

    /// Reads a table of towns: tab-separated lines sorted by latitude, `#` starting a comment line.
    /// The error names the first line that is not such.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let mut towns: Vec<Town<'a>> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let town = parse_town(line)
                .map_err(|fault| format!("towns, line {}: {fault}: {line:?}", index + 1))?;
            if towns.last().is_some_and(|before| before.latitude > town.latitude) {
                return Err(format!(
                    "towns, line {}: {} lies south of the town before it, and the table must be \
                     sorted by latitude",
                    index + 1,
                    town.name
                ));
            }
            towns.push(town);
        }
        Ok(Self { towns })
    }
}

/// Reads one line of the table.
fn parse_town(line: &str) -> Result<Town<'_>, &'static str> {
    let mut fields = line.split('\t');
    let mut next = || fields.next().filter(|field| !field.is_empty()).ok_or("a field is missing");
    let town = Town {
        id: next()?.parse().map_err(|_| "the number is none")?,
        name: next()?,
        latitude: parse_degrees(next()?, 90.0)?,
        longitude: parse_degrees(next()?, 180.0)?,
        population: next()?.parse().map_err(|_| "the population is no number")?,
        country: next()?,
    };
    if fields.next().is_some() {
        return Err("there is a field too many");
    }
    Ok(town)
}

/// Reads degrees within ±`bound`.
fn parse_degrees(text: &str, bound: f64) -> Result<f64, &'static str> {
    text.parse()
        .ok()
        .filter(|degrees: &f64| degrees.abs() <= bound)
        .ok_or("the position is not in degrees")
}

/// The great-circle distance of two points in degrees, by the haversine formula, which stays exact
/// for near points where the law of cosines does not.
fn distance_metres(latitude_a: f64, longitude_a: f64, latitude_b: f64, longitude_b: f64) -> f64 {
    let half_latitude = ((latitude_b - latitude_a).to_radians() / 2.0).sin();
    let half_longitude = ((longitude_b - longitude_a).to_radians() / 2.0).sin();
    let cosines = latitude_a.to_radians().cos() * latitude_b.to_radians().cos();
    let haversine = half_latitude * half_latitude + cosines * half_longitude * half_longitude;
    2.0 * EARTH_RADIUS_METRES * haversine.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write as _;
    use std::sync::LazyLock;

    /// The two places of the original reports, and how far around them the table is complete.
    const CENTRES: [(f64, f64); 2] = [(34.07, -118.44), (40.73, -74.0)];
    const CENTRE_RADIUS_METRES: f64 = 60_000.0;

    fn table(towns: &[(f64, f64)]) -> String {
        let mut sorted = towns.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut text = String::from("# a comment\n");
        for (index, (latitude, longitude)) in sorted.iter().enumerate() {
            writeln!(text, "{index}\tTown {index}\t{latitude}\t{longitude}\t5\tXX").unwrap();
        }
        text
    }

    /// The same question, answered by looking at every town, with the distance taken another way:
    /// as the angle between two vectors from the middle of the earth.
    fn slow_nearest(gazetteer: &Gazetteer<'_>, from: (f64, f64), radius: f64) -> Vec<u32> {
        let vector = |latitude: f64, longitude: f64| {
            let (latitude, longitude) = (latitude.to_radians(), longitude.to_radians());
            [latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()]
        };
        let a = vector(from.0, from.1);
        let mut found: Vec<(f64, u32)> = gazetteer
            .towns
            .iter()
            .map(|town| {
                let b = vector(town.latitude, town.longitude);
                let chord: f64 =
                    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt().min(2.0);
                (2.0 * EARTH_RADIUS_METRES * (chord / 2.0).asin(), town.id)
            })
            .filter(|(distance, _)| *distance <= radius)
            .collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found.into_iter().map(|(_, id)| id).collect()
    }

    fn ids(found: &[(&Town<'_>, f64)]) -> Vec<u32> {
        found.iter().map(|(town, _)| town.id).collect()
    }

    #[test]
    fn the_built_in_table_is_whole_and_is_what_its_header_says() {
        let gazetteer = Gazetteer::built_in().unwrap();
        assert!((12_500..14_000).contains(&gazetteer.town_count()), "{}", gazetteer.town_count());
        assert!(gazetteer.country_count() > 180, "{}", gazetteer.country_count());
        let numbers: BTreeSet<u32> = gazetteer.towns.iter().map(|town| town.id).collect();
        assert_eq!(numbers.len(), gazetteer.town_count(), "a number comes twice");
        for town in &gazetteer.towns {
            let near_a_centre = CENTRES.iter().any(|(latitude, longitude)| {
                distance_metres(*latitude, *longitude, town.latitude, town.longitude)
                    <= CENTRE_RADIUS_METRES
            });
            assert!(town.population >= 50_000 || near_a_centre, "{town:?}");
        }
        for source in ["GeoNames", "https://www.geonames.org/", "Attribution 4.0"] {
            assert!(TOWNS_TSV.contains(source), "{source}");
        }
    }

    #[test]
    fn the_campus_of_the_original_report_has_its_real_neighbours() {
        let gazetteer = Gazetteer::built_in().unwrap();
        let found = gazetteer.nearest(34.068_930, -118.445_127, 10_000.0, 5);
        assert_eq!(found.len(), 5);
        assert_eq!(found[0].0.name, "Bel Air");
        assert!(found.iter().any(|(town, _)| town.name == "Westwood"));
        assert!(found[0].1 < 2_000.0);
        assert!(found.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    }

    #[test]
    fn a_known_distance() {
        // One degree along a meridian of the sphere is its circumference by 360.
        assert!((distance_metres(0.0, 7.0, 1.0, 7.0) - 111_195.08).abs() < 0.01);
        assert!((distance_metres(90.0, 0.0, -90.0, 123.0) - 20_015_114.4).abs() < 1.0);
    }

    #[test]
    fn the_line_where_the_days_meet_and_the_poles_are_places_like_others() {
        let text = table(&[(-16.0, 179.9), (-16.0, -179.9), (89.9, 0.0), (89.91, 179.0)]);
        let gazetteer = Gazetteer::parse(&text).unwrap();
        assert_eq!(ids(&gazetteer.nearest(-16.0, -179.95, 50_000.0, 9)), [1, 0]);
        assert_eq!(ids(&gazetteer.nearest(-16.0, 179.95, 50_000.0, 9)), [0, 1]);
        assert_eq!(ids(&gazetteer.nearest(90.0, -77.0, 20_000.0, 9)), [3, 2]);
        assert_eq!(ids(&gazetteer.nearest(89.95, 179.0, 20_000.0, 9)), [3, 2]);
    }

    #[test]
    fn a_radius_of_nothing_finds_just_the_town_that_stands_there() {
        let text = table(&[(10.0, 20.0), (10.0, 20.000_01)]);
        let gazetteer = Gazetteer::parse(&text).unwrap();
        assert_eq!(ids(&gazetteer.nearest(10.0, 20.0, 0.0, 9)), [0]);
        assert!(gazetteer.nearest(10.0, 20.0, f64::NAN, 9).is_empty());
        assert!(gazetteer.nearest(10.0, 20.0, -1.0, 9).is_empty());
        assert!(gazetteer.nearest(10.0, 20.0, 50.0, 0).is_empty());
    }

    #[test]
    fn a_wrong_table_is_refused_with_the_line() {
        let refused = |text: &str| Gazetteer::parse(text).unwrap_err();
        let good = "1\tA\t2.5\t3\t4\tXX\n";
        assert_eq!(Gazetteer::parse(good).unwrap().town_count(), 1);
        assert!(refused("# c\n1\tA\t2\t3\t4\n").starts_with("towns, line 2: a field is missing"));
        assert!(refused("1\tA\t2\t3\t4\tXX\t9").contains("too many"));
        assert!(refused("one\tA\t2\t3\t4\tXX").contains("number is none"));
        assert!(refused("1\tA\t91\t3\t4\tXX").contains("degrees"));
        assert!(refused("1\tA\t2\tNaN\t4\tXX").contains("degrees"));
        assert!(refused("1\tA\t2\t3\tmany\tXX").contains("population"));
        assert!(refused("1\tA\t2\t3\t4\tXX\n2\tB\t1\t3\t4\tXX").contains("sorted"));
    }

    proptest! {
        #[test]
        fn the_search_finds_what_a_look_at_every_town_finds(
            towns in prop::collection::vec((-90.0..=90.0f64, -180.0..=180.0f64), 0..60),
            from in (-90.0..=90.0f64, -180.0..=180.0f64),
            radius in prop_oneof![0.0..50_000.0f64, 0.0..20_100_000.0f64],
            at_most in 0..70usize,
        ) {
            let text = table(&towns);
            let gazetteer = Gazetteer::parse(&text).unwrap();
            let mut slow = slow_nearest(&gazetteer, from, radius);
            slow.truncate(at_most);
            let found = gazetteer.nearest(from.0, from.1, radius, at_most);
            prop_assert_eq!(ids(&found), slow);
        }

        #[test]
        fn so_it_does_among_the_real_towns(
            which in any::<prop::sample::Index>(),
            aside in (-0.4..0.4f64, -0.4..0.4f64),
            radius in 0.0..50_000.0f64,
        ) {
            static BUILT_IN: LazyLock<Gazetteer<'static>> =
                LazyLock::new(|| Gazetteer::built_in().unwrap());
            let gazetteer = &*BUILT_IN;
            let town = which.get(&gazetteer.towns);
            let from = (town.latitude + aside.0, town.longitude + aside.1);
            let found = gazetteer.nearest(from.0, from.1, radius, usize::MAX);
            prop_assert_eq!(ids(&found), slow_nearest(gazetteer, from, radius));
        }
    }
}
