//! Places on the map: members of a sorted set whose scores are geohashes.

use super::args::{float, int, int32, is};
use super::zset::{AddFlags, add_members, limits, reply_member, store};
use crate::ds::listpack::{INT_TEXT_MAX, ListpackEntry};
use crate::ds::sorted_set::Builder;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::server::propagate;
use crate::server::table::Row;
use crate::spec::CommandFlags;
use crate::util::geohash::{Point, Polygon, Shape, ShapeKind};
use crate::util::number::{MAX_F64_CHARS, fmt_distance, fmt_f64, fmt_human_f64, parse_f64};
use crate::value::Collection;
use crate::value::zset::{ScoreBound, ScoreRange, Zset};
use std::cmp::Ordering;

const NO_SUCH_MEMBER: CommandError = CommandError::err("could not decode requested zset member");
const TOO_FEW_VERTICES: CommandError =
    CommandError::err("GEOSEARCH BYPOLYGON must have at least 3 vertices");

/// A point on the map, by its longitude and latitude.
fn point(longitude: &[u8], latitude: &[u8]) -> CommandResult<Point> {
    let (longitude, latitude) = (float(longitude)?, float(latitude)?);
    Point::new(longitude, latitude).ok_or_else(|| {
        CommandError::err_with(format!(
            "invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
        ))
    })
}

/// The point that a score stands for. A negative one, which no point has, counts down from the largest, as it does
/// for C.
fn point_of(score: f64) -> Point {
    Point::from_score(if score < 0.0 { score as i64 as u64 } else { score as u64 })
}

fn member_point(zset: &Zset, member: &[u8]) -> Option<Point> {
    zset.score(member).map(point_of)
}

/// How many metres the unit has.
fn unit(arg: &[u8]) -> CommandResult<f64> {
    const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    const UNSUPPORTED: CommandError =
        CommandError::err("unsupported unit provided. please use M, KM, FT, MI");
    let unit = UNITS.into_iter().find(|(name, _)| is(arg, name));
    unit.map(|(_, metres)| metres).ok_or(UNSUPPORTED)
}

/// Coordinates are answered with all their digits, in RESP3 as doubles.
fn reply_point(reply: &mut Reply, point: Point) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        let text = fmt_human_f64(degrees);
        if reply.is_resp3() {
            reply.raw(b",");
            reply.raw(text.as_bytes());
            reply.raw(b"\r\n");
        } else {
            reply.bulk_str(&text);
        }
    }
}

/// GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]
fn geoadd(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let mut flags = AddFlags::default();
    let mut places = &args[2..];
    while let [option, rest @ ..] = places {
        match option {
            option if is(option, "NX") => flags.nx = true,
            option if is(option, "XX") => flags.xx = true,
            option if is(option, "CH") => flags.ch = true,
            _ => break,
        }
        places = rest;
    }
    let (places, rest) = places.as_chunks::<3>();
    if places.is_empty() || !rest.is_empty() || (flags.nx && flags.xx) {
        return Err(CommandError::SYNTAX);
    }
    for [longitude, latitude, _] in places {
        point(longitude, latitude)?;
    }
    let longest = places.iter().map(|[.., member]| member.len()).max().unwrap_or(0);
    let elements = places.iter().map(|&[longitude, latitude, member]| {
        Ok((point(longitude, latitude)?.to_score() as f64, member))
    });
    add_members(s, call, args[1], places.len(), longest, elements, flags)?;
    propagate_as_zadd(s, call, args, places);
    Ok(())
}

/// To a replica it is the scores that are told: it need not compute them, nor know of places.
fn propagate_as_zadd(s: &mut Server, call: &mut Call, args: &[&[u8]], places: &[[&[u8]; 3]]) {
    if !propagate::is_propagated(s) {
        return;
    }
    let scores: Vec<String> = places
        .iter()
        .filter_map(|[longitude, latitude, _]| point(longitude, latitude).ok())
        .map(|point| point.to_score().to_string())
        .collect();
    let options = &args[..args.len() - places.as_flattened().len()];
    let mut zadd: Vec<&[u8]> = [&[&b"zadd"[..]], &options[1..]].concat();
    for (score, [.., member]) in scores.iter().zip(places) {
        zadd.extend([score.as_bytes(), member]);
    }
    propagate::propagate_instead(s, call, &zadd);
}

/// GEOPOS key [member [member ...]]
fn geopos(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    call.reply.array(args.len() - 2);
    for member in &args[2..] {
        match zset.and_then(|zset| member_point(zset, member)) {
            Some(point) => reply_point(&mut call.reply, point),
            None => call.reply.null_array(),
        }
    }
    Ok(())
}

/// GEOHASH key [member [member ...]]
fn geohash(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    call.reply.array(args.len() - 2);
    for member in &args[2..] {
        match zset.and_then(|zset| member_point(zset, member)) {
            Some(point) => call.reply.bulk(&point.to_base32()),
            None => call.reply.null(),
        }
    }
    Ok(())
}

/// GEODIST key member1 member2 [M | KM | FT | MI]
fn geodist(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let metres = match args[4..] {
        [] => 1.0,
        [name] => unit(name)?,
        _ => return Err(CommandError::SYNTAX),
    };
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    let distance = zset
        .and_then(|zset| Some(member_point(zset, args[2])?.distance(member_point(zset, args[3])?)));
    match distance {
        Some(distance) => call.reply.bulk_str(&fmt_distance(distance / metres)),
        None => call.reply.null(),
    }
    Ok(())
}

/// Which command searches: the options depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// `GEORADIUS` and `GEORADIUSBYMEMBER`.
    Radius { stores: bool },
    /// `GEOSEARCH` and `GEOSEARCHSTORE`.
    Search { stores: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Nearest,
    Farthest,
}

/// What to search for.
#[derive(Clone, Debug, Default)]
struct Search<'a> {
    center: Option<Center<'a>>,
    area: Option<Area>,
    with_distance: bool,
    with_hash: bool,
    with_point: bool,
    order: Option<Order>,
    /// At most so many results; 0 for all.
    count: usize,
    /// `ANY`: the search ends when so many are found, whichever they are.
    any: bool,
    /// The key to store the result under.
    store: Option<&'a [u8]>,
    /// Store distances, not geohashes.
    store_distances: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Center<'a> {
    Point(Point),
    Member(&'a [u8]),
}

/// The area to search.
#[derive(Clone, Debug, PartialEq)]
struct Area {
    /// In metres.
    kind: ShapeKind,
    /// Metres of the unit that distances are answered in.
    unit: f64,
}

impl Area {
    fn circle(radius: &[u8], unit_name: &[u8]) -> CommandResult<Area> {
        let radius = parse_f64(radius).ok_or(CommandError::err("need numeric radius"))?;
        if radius < 0.0 {
            return Err(CommandError::err("radius cannot be negative"));
        }
        let unit = unit(unit_name)?;
        Ok(Area { kind: ShapeKind::Circle { radius: radius * unit }, unit })
    }

    fn rectangle(width: &[u8], height: &[u8], unit_name: &[u8]) -> CommandResult<Area> {
        let width = parse_f64(width).ok_or(CommandError::err("need numeric width"))?;
        let height = parse_f64(height).ok_or(CommandError::err("need numeric height"))?;
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::err("height or width cannot be negative"));
        }
        let unit = unit(unit_name)?;
        let kind = ShapeKind::Box { width: width * unit, height: height * unit };
        Ok(Area { kind, unit })
    }

    /// The area between so many points, and what stands behind them.
    fn polygon<'a, 'b>(
        number: &[u8],
        rest: &'b [&'a [u8]],
    ) -> CommandResult<(Polygon, &'b [&'a [u8]])> {
        let number = int32(number, Some("invalid number of vertices"))?;
        let number = usize::try_from(number).map_err(|_| TOO_FEW_VERTICES)?;
        let (pairs, _) = rest.as_chunks::<2>();
        let pairs = pairs.get(..number).filter(|pairs| pairs.len() >= 3).ok_or(TOO_FEW_VERTICES)?;
        let vertices: CommandResult<Vec<Point>> =
            pairs.iter().map(|[longitude, latitude]| point(longitude, latitude)).collect();
        let polygon = Polygon::new(vertices?).ok_or(TOO_FEW_VERTICES)?;
        Ok((polygon, &rest[2 * number..]))
    }
}

impl<'a> Search<'a> {
    /// Takes an option that is one word in all commands; `false`: it is not one.
    fn take_word(&mut self, option: &[u8]) -> bool {
        match option {
            _ if is(option, "WITHDIST") => self.with_distance = true,
            _ if is(option, "WITHHASH") => self.with_hash = true,
            _ if is(option, "WITHCOORD") => self.with_point = true,
            _ if is(option, "ANY") => self.any = true,
            _ if is(option, "ASC") => self.order = Some(Order::Nearest),
            _ if is(option, "DESC") => self.order = Some(Order::Farthest),
            _ => return false,
        }
        true
    }

    /// Takes an option that says where the centre is, and returns what follows it; `None`: it is none, or not one that
    /// goes with those before it.
    fn take_center<'b>(
        &mut self,
        zset: Option<&Zset>,
        option: &[u8],
        more: &'b [&'a [u8]],
    ) -> CommandResult<Option<&'b [&'a [u8]]>> {
        let (center, rest) = match (more, self.center) {
            _ if self.is_polygon() => return Ok(None),
            ([member, rest @ ..], None | Some(Center::Member(_))) if is(option, "FROMMEMBER") => {
                require_member(zset, member)?;
                (Center::Member(member), rest)
            }
            ([longitude, latitude, rest @ ..], None | Some(Center::Point(_)))
                if is(option, "FROMLONLAT") =>
            {
                (Center::Point(point(longitude, latitude)?), rest)
            }
            _ => return Ok(None),
        };
        self.center = Some(center);
        Ok(Some(rest))
    }

    /// Takes an option that says what area is searched, and returns what follows it; `None`: it is none, or not one
    /// that goes with those before it.
    fn take_area<'b>(
        &mut self,
        option: &[u8],
        more: &'b [&'a [u8]],
    ) -> CommandResult<Option<&'b [&'a [u8]]>> {
        let before = self.area.as_ref().map(|area| &area.kind);
        let (area, rest) = match (more, before) {
            ([radius, unit, rest @ ..], None | Some(ShapeKind::Circle { .. }))
                if is(option, "BYRADIUS") =>
            {
                (Area::circle(radius, unit)?, rest)
            }
            ([width, height, unit, rest @ ..], None | Some(ShapeKind::Box { .. }))
                if is(option, "BYBOX") =>
            {
                (Area::rectangle(width, height, unit)?, rest)
            }
            ([number, rest @ ..], _)
                if is(option, "BYPOLYGON")
                    && !rest.is_empty()
                    && (self.is_polygon() || before.is_none() && self.center.is_none()) =>
            {
                let (polygon, rest) = Area::polygon(number, rest)?;
                // It brings its own centre.
                self.center = Some(Center::Point(polygon.center()));
                (Area { kind: ShapeKind::Polygon(polygon), unit: 1.0 }, rest)
            }
            _ => return Ok(None),
        };
        self.area = Some(area);
        Ok(Some(rest))
    }

    fn is_polygon(&self) -> bool {
        matches!(&self.area, Some(Area { kind: ShapeKind::Polygon(_), .. }))
    }

    /// Parses options. `zset`: what is searched, of which `FROMMEMBER` has to name a member; `command`: the name as it
    /// came, for errors.
    fn options(
        mut self,
        zset: Option<&Zset>,
        mut rest: &[&'a [u8]],
        family: Family,
        command: &[u8],
    ) -> CommandResult<Search<'a>> {
        let searches = matches!(family, Family::Search { .. });
        let (may_store, stores_always) = match family {
            Family::Radius { stores } => (stores, false),
            Family::Search { stores } => (false, stores),
        };
        while let [option, more @ ..] = rest {
            rest = match more {
                _ if self.take_word(option) => more,
                [count, more @ ..] if is(option, "COUNT") => {
                    let too_few = CommandError::err("COUNT must be > 0");
                    let count = int(count)?;
                    self.count = usize::try_from(count).ok().filter(|n| *n > 0).ok_or(too_few)?;
                    more
                }
                [key, more @ ..]
                    if may_store && (is(option, "STORE") || is(option, "STOREDIST")) =>
                {
                    self.store = Some(key);
                    self.store_distances = is(option, "STOREDIST");
                    more
                }
                _ if stores_always && is(option, "STOREDIST") => {
                    self.store_distances = true;
                    more
                }
                _ if searches => match self.take_center(zset, option, more)? {
                    Some(more) => more,
                    None => self.take_area(option, more)?.ok_or(CommandError::SYNTAX)?,
                },
                _ => return Err(CommandError::SYNTAX),
            };
        }
        self.check(family, command)
    }

    fn check(mut self, family: Family, command: &[u8]) -> CommandResult<Search<'a>> {
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_point) {
            let who = match family {
                Family::Search { .. } => "GEOSEARCHSTORE",
                Family::Radius { .. } => "STORE option in GEORADIUS",
            };
            return Err(CommandError::err_with(format!(
                "{who} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let searches = matches!(family, Family::Search { .. });
        if searches && self.center.is_none() {
            let text = b"exactly one of FROMMEMBER or FROMLONLAT can be specified for ";
            return Err(CommandError::err_with([text, command].concat()));
        }
        if searches && self.area.is_none() {
            let text = b"exactly one of BYRADIUS and BYBOX can be specified for ";
            return Err(CommandError::err_with([text, command].concat()));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::err("the ANY argument requires COUNT argument"));
        }
        if self.count > 0 && !self.any {
            // The first ones of no order would make little sense.
            self.order.get_or_insert(Order::Nearest);
        }
        Ok(self)
    }

    /// The members in the area, in the order that is wanted.
    fn find<'z>(&self, zset: &'z Zset, shape: &Shape) -> Vec<Found<'z>> {
        let enough = if self.any { self.count } else { usize::MAX };
        let mut found = Vec::new();
        'cells: for (min, max) in shape.score_ranges() {
            let bound = |score, exclusive| ScoreBound { score: score as f64, exclusive };
            let cell = ScoreRange { min: bound(min, false), max: bound(max, true) };
            for (member, score) in zset.range(zset.ranks_by_score(&cell)) {
                let point = point_of(score);
                if let Some(distance) = shape.distance_within(point) {
                    found.push(Found { member, score, point, distance });
                    if found.len() >= enough {
                        break 'cells;
                    }
                }
            }
        }
        let wanted = if self.count > 0 { self.count.min(found.len()) } else { found.len() };
        if let Some(order) = self.order {
            let compare = |a: &Found<'_>, b: &Found<'_>| {
                let nearest = a.distance.partial_cmp(&b.distance).unwrap_or(Ordering::Equal);
                if order == Order::Nearest { nearest } else { nearest.reverse() }
            };
            if wanted < found.len() {
                found.select_nth_unstable_by(wanted, compare);
                found.truncate(wanted);
            }
            found.sort_by(compare);
        }
        found.truncate(wanted);
        found
    }

    fn reply(&self, reply: &mut Reply, found: &[Found<'_>], unit: f64) {
        let details =
            [self.with_distance, self.with_hash, self.with_point].iter().filter(|on| **on).count();
        reply.array(found.len());
        for place in found {
            if details > 0 {
                reply.array(1 + details);
            }
            reply_member(reply, place.member);
            if self.with_distance {
                reply.bulk_str(&fmt_distance(place.distance / unit));
            }
            if self.with_hash {
                reply.int(place.score as i64);
            }
            if self.with_point {
                reply_point(reply, place.point);
            }
        }
    }
}

/// A member in the area.
#[derive(Clone, Copy, Debug)]
struct Found<'z> {
    member: ListpackEntry<'z>,
    score: f64,
    point: Point,
    /// In metres from the centre.
    distance: f64,
}

/// Searches under `key`, which whoever made `wanted` has looked up.
fn search(
    s: &mut Server,
    call: &mut Call,
    key: &[u8],
    mut wanted: Search<'_>,
    event: &'static str,
) -> CommandResult {
    let limits = limits(&s.config);
    let is_told_as_zadd = wanted.is_polygon() && propagate::is_propagated(s);
    let Some(zset) = s.ks.peek(call.db, key).and_then(|found| Zset::of(found.value())) else {
        let Some(destination) = wanted.store else {
            call.reply.array(0);
            return Ok(());
        };
        store(s, call, destination, Zset::default(), event);
        if is_told_as_zadd {
            propagate_stored(s, call, destination, &[]);
        }
        return Ok(());
    };
    let (Some(center), Some(area)) = (wanted.center, wanted.area.take()) else {
        return Err(CommandError::SYNTAX);
    };
    let center = match center {
        Center::Point(point) => point,
        Center::Member(member) => member_point(zset, member).ok_or(NO_SUCH_MEMBER)?,
    };
    let found = wanted.find(zset, &Shape { center, kind: area.kind });
    let Some(destination) = wanted.store else {
        wanted.reply(&mut call.reply, &found, area.unit);
        return Ok(());
    };
    let mut result = Builder::with_capacity(found.len());
    let mut pairs = Vec::new();
    for place in &found {
        let score = if wanted.store_distances { place.distance / area.unit } else { place.score };
        let mut digits = [0; INT_TEXT_MAX];
        let member = place.member.to_bytes(&mut digits);
        result.merge(member, |_| score);
        if is_told_as_zadd {
            pairs.push(fmt_f64(score, &mut [0; MAX_F64_CHARS]).to_vec());
            pairs.push(member.to_vec());
        }
    }
    let stored = result.len();
    store(s, call, destination, Zset::from_builder(result, &limits), event);
    s.ks.changes.dirty += stored.saturating_sub(1) as u64;
    if is_told_as_zadd {
        propagate_stored(s, call, destination, &pairs);
    }
    Ok(())
}

/// Tells what was stored, scores and members, in the place of a search that replicas may not know.
fn propagate_stored(s: &Server, call: &mut Call, destination: &[u8], pairs: &[Vec<u8>]) {
    propagate::propagate_instead(s, call, &[b"DEL", destination]);
    if !pairs.is_empty() {
        let pairs: Vec<&[u8]> = pairs.iter().map(Vec::as_slice).collect();
        let zadd = [&[&b"ZADD"[..], destination], &pairs[..]].concat();
        propagate::propagate_instead(s, call, &zadd);
    }
}

/// GEORADIUS key longitude latitude radius unit [options], and GEORADIUS_RO
fn georadius(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    search_radius(s, call, args, false)
}

/// GEORADIUSBYMEMBER key member radius unit [options], and GEORADIUSBYMEMBER_RO
fn georadiusbymember(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    search_radius(s, call, args, true)
}

fn search_radius(
    s: &mut Server,
    call: &mut Call,
    args: &[&[u8]],
    by_member: bool,
) -> CommandResult {
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    let (center, area, options) = if by_member {
        require_member(zset, args[2])?;
        // Where nothing is searched, nobody looks at the radius.
        let area = zset.map(|_| Area::circle(args[3], args[4])).transpose()?;
        (Center::Member(args[2]), area, &args[5..])
    } else {
        let center = Center::Point(point(args[2], args[3])?);
        (center, Some(Area::circle(args[4], args[5])?), &args[6..])
    };
    let command = s.commands.find(args[0]).map(|id| s.commands.get(id));
    let stores = command.is_some_and(|command| command.is(CommandFlags::WRITE));
    let wanted = Search { center: Some(center), area, ..Search::default() };
    let wanted = wanted.options(zset, options, Family::Radius { stores }, args[0])?;
    search(s, call, args[1], wanted, "georadiusstore")
}

/// Refuses a centre that is no member of a sorted set that is there.
fn require_member(zset: Option<&Zset>, member: &[u8]) -> CommandResult {
    match zset {
        Some(zset) if zset.score(member).is_none() => Err(NO_SUCH_MEMBER),
        _ => Ok(()),
    }
}

/// GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius unit | BYBOX width height unit>
/// [options], or GEOSEARCH key BYPOLYGON num-vertices longitude latitude [longitude latitude ...] [options]
fn geosearch(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    let family = Family::Search { stores: false };
    let wanted = Search::default().options(zset, &args[2..], family, args[0])?;
    search(s, call, args[1], wanted, "geosearchstore")
}

/// GEOSEARCHSTORE destination source [as GEOSEARCH] [STOREDIST]
fn geosearchstore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let zset = s.ks.read::<Zset>(call.db, args[2])?;
    let wanted = Search { store: Some(args[1]), ..Search::default() };
    let wanted = wanted.options(zset, &args[3..], Family::Search { stores: true }, args[0])?;
    search(s, call, args[2], wanted, "geosearchstore")
}

pub const COMMANDS: &[Row] = &[
    ("geoadd", geoadd),
    ("geodist", geodist),
    ("geohash", geohash),
    ("geopos", geopos),
    ("georadius", georadius),
    ("georadius_ro", georadius),
    ("georadiusbymember", georadiusbymember),
    ("georadiusbymember_ro", georadiusbymember),
    ("geosearch", geosearch),
    ("geosearchstore", geosearchstore),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, family: Family) -> Result<(), String> {
        let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let stores = family == (Family::Search { stores: true });
        let mut wanted = Search { store: stores.then_some(b"key"), ..Search::default() };
        if matches!(family, Family::Radius { .. }) {
            wanted.center = Some(Center::Member(b"m"));
            wanted.area = Area::circle(b"1", b"m").ok();
        }
        wanted.options(None, &args, family, b"GeoX").map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn options() {
        let radius = Family::Radius { stores: true };
        let radius_ro = Family::Radius { stores: false };
        let search = Family::Search { stores: false };
        let search_store = Family::Search { stores: true };
        for (line, family) in [
            ("", radius),
            ("withdist WITHHASH WITHCOORD DESC COUNT 3 ANY", radius_ro),
            ("STORE a STOREDIST b", radius),
            ("FROMMEMBER a FROMMEMBER b BYRADIUS 1 km", search),
            ("BYBOX 1 2 ft FROMLONLAT 1 2 ASC", search),
            ("FROMLONLAT 1 2 BYBOX 1 2 mi STOREDIST", search_store),
        ] {
            assert_eq!(parse(line, family), Ok(()), "{line}");
        }
        let syntax = "ERR syntax error";
        for (line, family, error) in [
            ("STORE a", radius_ro, syntax),
            ("STORE", radius, syntax),
            ("STORE a", search, syntax),
            ("STOREDIST", search, syntax),
            ("FROMMEMBER a", radius, syntax),
            ("FROMMEMBER a FROMLONLAT 1 2", search, syntax),
            ("BYRADIUS 1 m BYBOX 1 1 m", search, syntax),
            ("COUNT 0", radius, "ERR COUNT must be > 0"),
            ("COUNT x", radius, "ERR value is not an integer or out of range"),
            ("ANY", radius, "ERR the ANY argument requires COUNT argument"),
            (
                "STORE a WITHDIST",
                radius,
                "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
            ),
            (
                "WITHDIST",
                search_store,
                "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
            ),
            (
                "BYRADIUS 1 m",
                search,
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GeoX",
            ),
            (
                "FROMMEMBER a",
                search,
                "ERR exactly one of BYRADIUS and BYBOX can be specified for GeoX",
            ),
            ("BYRADIUS x m", search, "ERR need numeric radius"),
            ("BYRADIUS -1 m", search, "ERR radius cannot be negative"),
            ("BYBOX 1 x m", search, "ERR need numeric height"),
            ("BYBOX x 1 m", search, "ERR need numeric width"),
            ("BYBOX -1 1 m", search, "ERR height or width cannot be negative"),
            ("BYRADIUS 1 x", search, "ERR unsupported unit provided. please use M, KM, FT, MI"),
            ("FROMLONLAT 181 0", search, "ERR invalid longitude,latitude pair 181.000000,0.000000"),
        ] {
            assert_eq!(parse(line, family), Err(error.into()), "{line}");
        }
    }

    #[test]
    fn options_of_polygons() {
        let radius = Family::Radius { stores: true };
        let search = Family::Search { stores: false };
        let search_store = Family::Search { stores: true };
        for (line, family) in [
            ("BYPOLYGON 3 1 1 2 2 1 2", search),
            ("COUNT 1 ANY BYPOLYGON 3 1 1 2 2 1 2 ASC", search),
            ("BYPOLYGON 3 1 1 2 2 1 2 BYPOLYGON 3 0 0 2 2 1 2", search_store),
        ] {
            assert_eq!(parse(line, family), Ok(()), "{line}");
        }
        let syntax = "ERR syntax error";
        let too_few = "ERR GEOSEARCH BYPOLYGON must have at least 3 vertices";
        for (line, family, error) in [
            ("BYPOLYGON 3 1 1 2 2 1 2 FROMLONLAT 1 1", search, syntax),
            ("BYPOLYGON 3 1 1 2 2 1 2 FROMMEMBER m", search, syntax),
            ("BYPOLYGON 3 1 1 2 2 1 2 BYRADIUS 1 m", search, syntax),
            ("BYPOLYGON 3 1 1 2 2 1 2 BYBOX 1 1 m", search, syntax),
            ("FROMLONLAT 1 1 BYPOLYGON 3 1 1 2 2 1 2", search, syntax),
            ("FROMMEMBER m BYPOLYGON 3 1 1 2 2 1 2", search, syntax),
            ("BYRADIUS 1 m BYPOLYGON 3 1 1 2 2 1 2", search, syntax),
            ("BYBOX 1 1 m BYPOLYGON 3 1 1 2 2 1 2", search, syntax),
            ("BYPOLYGON 3 1 1 2 2 1 2", radius, syntax),
            ("BYPOLYGON 3", search, syntax),
            ("BYPOLYGON 3 1 1 2 2 1 2 3 3", search, syntax),
            ("BYPOLYGON x 1", search, "ERR invalid number of vertices"),
            ("BYPOLYGON 2147483648 1", search, "ERR invalid number of vertices"),
            ("BYPOLYGON -1 1 1 2 2 1 2", search, too_few),
            ("BYPOLYGON 2 x 1 2 2", search, too_few),
            ("BYPOLYGON 3 x 1 2 2 1", search, too_few),
            ("BYPOLYGON 2147483647 1 1 2 2 1 2", search, too_few),
            ("BYPOLYGON 3 1 1 2 2 1 x", search, "ERR value is not a valid float"),
            ("BYPOLYGON 3 1 1 2 x 181 1", search, "ERR value is not a valid float"),
            (
                "BYPOLYGON 3 1 1 2 86 1 2",
                search,
                "ERR invalid longitude,latitude pair 2.000000,86.000000",
            ),
        ] {
            assert_eq!(parse(line, family), Err(error.into()), "{line}");
        }
    }

    #[test]
    fn nearest_and_farthest() {
        let mut zset = Zset::default();
        for i in 0..50 {
            let score = Point::new(f64::from(i) / 10.0, 1.0).unwrap().to_score() as f64;
            zset.update(format!("p{i:02}").as_bytes(), &Default::default(), |_| Some(score));
        }
        let center = Point::new(0.0, 1.0).unwrap();
        let shape = Shape { center, kind: ShapeKind::Circle { radius: 300_000.0 } };
        let find = |order, count, any| {
            let search = Search { order, count, any, ..Search::default() };
            let found = search.find(&zset, &shape);
            found.iter().map(|f| String::from_utf8(f.member.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(find(None, 0, false).len(), 27);
        assert_eq!(find(Some(Order::Nearest), 3, false), ["p00", "p01", "p02"]);
        assert_eq!(find(Some(Order::Farthest), 2, false), ["p26", "p25"]);
        assert_eq!(find(Some(Order::Nearest), 0, false).last().unwrap(), "p26");
        assert_eq!(find(None, 5, true).len(), 5);
        assert_eq!(find(None, 100, true).len(), 27);
    }
}
