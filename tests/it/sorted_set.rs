//! Sorted sets over the wire: every command with its options, and what is wrong with bad ones.

use crate::harness::Server;

#[test]
fn scores_are_set() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("ZADD z 1 a 2 b", ":2"),
        ("ZADD z NX 9 a 3 c", ":1"),
        ("ZADD z XX 5 a 5 d", ":0"),
        ("ZADD z CH 6 a 2 b", ":1"),
        ("ZADD z GT CH 1 a 9 b", ":1"),
        ("ZADD z LT CH 1 a 99 b", ":1"),
        ("ZADD z INCR 2.5 a", "3.5"),
        ("ZADD z NX INCR 1 a", "nil"),
        ("ZADD z XX INCR 1 zz", "nil"),
        ("ZADD z INCR 1 a 2 b", "ERR INCR option supports a single increment-element pair"),
        ("ZADD z NX XX 1 a", "ERR XX and NX options at the same time are not compatible"),
        ("ZADD z GT LT 1 a", "ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z NX GT 1 a", "ERR GT, LT, and/or NX options at the same time are not compatible"),
        ("ZADD z 1", "ERR wrong number of arguments for 'zadd' command"),
        ("ZADD z 1 a 2", "ERR syntax error"),
        ("ZADD z x a", "ERR value is not a valid float"),
        ("ZADD z nan a", "ERR value is not a valid float"),
        ("ZADD z inf i -inf j", ":2"),
        ("ZINCRBY z -inf i", "ERR resulting score is not a number (NaN)"),
        ("ZSCORE z i", "inf"),
        ("ZSCORE z j", "-inf"),
        ("ZINCRBY z 1.5 new", "1.5"),
        ("ZMSCORE z a gone new", "[3.5 nil 1.5]"),
        ("ZMSCORE gone a", "[nil]"),
        ("ZCARD z", ":6"),
        ("ZREM z i j gone", ":2"),
        ("ZRANK z a", ":2"),
        ("ZREVRANK z a", ":1"),
        ("ZRANK z a WITHSCORE", "[:2 3.5]"),
        ("ZRANK z gone WITHSCORE", "nil"),
        ("ZRANK z a FOO", "ERR syntax error"),
        ("ZADD prec 0.1 a 3e-5 b 1e300 c 123456789 d", ":4"),
        ("ZRANGE prec 0 -1 WITHSCORES", "[b 0.00003 a 0.1 d 123456789 c 1e+300]"),
        ("SET str x", "OK"),
        ("ZADD str 1 a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("ZSCORE str a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("ZINCRBY z x a", "ERR value is not a valid float"),
    ]);
}

#[test]
fn ranges() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("ZADD z 1 a 2 b 3 c 4 d", ":4"),
        ("ZRANGE z 0 -1", "[a b c d]"),
        ("ZRANGE z -2 9223372036854775807", "[c d]"),
        ("ZRANGE z -9223372036854775808 0 WITHSCORES", "[a 1]"),
        ("ZRANGE z 2 1", "[]"),
        ("ZRANGE z 0 1 REV", "[d c]"),
        ("ZRANGE z (1 3 BYSCORE", "[b c]"),
        ("ZRANGE z 3 (1 BYSCORE REV WITHSCORES", "[c 3 b 2]"),
        ("ZRANGE z -inf +inf BYSCORE LIMIT 1 2", "[b c]"),
        ("ZRANGE z -inf +inf BYSCORE LIMIT -1 2", "[]"),
        ("ZRANGE z -inf +inf BYSCORE LIMIT 1 -1", "[b c d]"),
        (
            "ZRANGE z 0 1 LIMIT 0 1",
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ),
        ("ZRANGE z x 1", "ERR value is not an integer or out of range"),
        ("ZRANGE z x 1 BYSCORE", "ERR min or max is not a float"),
        ("ZRANGE z a b BYLEX", "ERR min or max not valid string range item"),
        ("ZRANGE z 0 1 BYLEX BYSCORE", "ERR syntax error"),
        (
            "ZRANGE z [a [b BYLEX WITHSCORES",
            "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
        ),
        ("ZADD l 0 a 0 b 0 c 0 d", ":4"),
        ("ZRANGE l [b + BYLEX", "[b c d]"),
        ("ZRANGE l + (b BYLEX REV LIMIT 0 1", "[d]"),
        ("ZRANGE l - (c BYLEX", "[a b]"),
        ("ZREVRANGE z 0 1 WITHSCORES", "[d 4 c 3]"),
        ("ZRANGEBYSCORE z 2 3 WITHSCORES LIMIT 0 1", "[b 2]"),
        ("ZREVRANGEBYSCORE z 3 2", "[c b]"),
        ("ZRANGEBYLEX l [a (c", "[a b]"),
        // Where scores differ, the ends decide whether there is anything.
        ("ZADD mixed 41 m0 51 a", ":2"),
        ("ZLEXCOUNT mixed (b (m3", ":0"),
        ("ZREMRANGEBYLEX mixed (b (m3", ":0"),
        ("ZRANGEBYLEX mixed [a [m9", "[m0 a]"),
        ("DEL mixed", ":1"),
        ("ZREVRANGEBYLEX l [c -", "[c b a]"),
        ("ZCOUNT z (1 +inf", ":3"),
        ("ZCOUNT z nan 1", "ERR min or max is not a float"),
        ("ZLEXCOUNT l - +", ":4"),
        ("ZLEXCOUNT l [b [b", ":1"),
        ("ZLEXCOUNT l b c", "ERR min or max not valid string range item"),
        ("ZRANGESTORE out z 1 2", ":2"),
        ("ZRANGE out 0 -1 WITHSCORES", "[b 2 c 3]"),
        ("ZRANGESTORE out z 9 10", ":0"),
        ("EXISTS out", ":0"),
        ("ZRANGESTORE out z 0 -1 WITHSCORES", "ERR syntax error"),
        ("ZREMRANGEBYRANK z 0 0", ":1"),
        ("ZREMRANGEBYSCORE z (2 3", ":1"),
        ("ZREMRANGEBYLEX l [a [b", ":2"),
        ("ZCARD z", ":2"),
        ("ZCARD l", ":2"),
        ("ZREMRANGEBYRANK z x 1", "ERR value is not an integer or out of range"),
        ("ZREMRANGEBYSCORE z 1 x", "ERR min or max is not a float"),
        ("ZREMRANGEBYLEX l a b", "ERR min or max not valid string range item"),
        ("ZREMRANGEBYRANK z -100 100", ":2"),
        ("EXISTS z", ":0"),
    ]);
}

#[test]
fn the_least_and_the_greatest_are_taken() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("ZADD z 1 a 2 b 3 c 4 d", ":4"),
        ("ZPOPMIN z", "[a 1]"),
        ("ZPOPMAX z 2", "[d 4 c 3]"),
        ("ZPOPMIN z 0", "[]"),
        ("ZPOPMIN z -1", "ERR value is out of range, must be positive"),
        ("ZPOPMIN z x", "ERR value is out of range, must be positive"),
        ("ZPOPMIN gone", "[]"),
        ("ZMPOP 2 gone z MIN", "[z [[b 2]]]"),
        ("EXISTS z", ":0"),
        ("ZMPOP 1 gone MIN", "nil"),
        ("ZMPOP 0 z MIN", "ERR numkeys should be greater than 0"),
        ("ZMPOP 1 z FOO", "ERR syntax error"),
        ("ZMPOP 1 z MIN COUNT 0", "ERR count should be greater than 0"),
        ("ZMPOP 1 z MIN COUNT x", "ERR count should be greater than 0"),
        ("ZADD z 1 a 2 b", ":2"),
        ("ZMPOP 1 z MAX COUNT 9", "[z [[b 2] [a 1]]]"),
        ("BZPOPMIN gone 0.01", "nil"),
        ("BZPOPMAX gone -1", "ERR timeout is negative"),
        ("BZPOPMAX gone x", "ERR timeout is not a float or out of range"),
        ("ZADD z 1 a 2 b", ":2"),
        ("BZPOPMAX gone z 0", "[z b 2]"),
        ("BZMPOP 0 2 gone z MIN", "[z [[a 1]]]"),
        ("ZRANDMEMBER gone", "nil"),
        ("ZRANDMEMBER gone 2", "[]"),
        ("ZADD z 1 a", ":1"),
        ("ZRANDMEMBER z -2 WITHSCORES", "[a 1 a 1]"),
        ("ZRANDMEMBER z 5", "[a]"),
        ("ZRANDMEMBER z -9223372036854775808 WITHSCORES", "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807"),
        ("ZRANDMEMBER z 1 FOO", "ERR syntax error"),
    ]);
}

#[test]
fn sets_are_combined() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("ZADD a 1 x 2 y", ":2"),
        ("ZADD b 10 y 20 z", ":2"),
        ("SADD s x q", ":2"),
        ("ZUNION 2 a b WITHSCORES", "[x 1 y 12 z 20]"),
        ("ZUNION 2 a b WEIGHTS 2 0.5 AGGREGATE MAX WITHSCORES", "[x 2 y 5 z 10]"),
        ("ZINTER 2 a b AGGREGATE MIN WITHSCORES", "[y 2]"),
        ("ZINTER 2 a s WITHSCORES", "[x 2]"),
        ("ZDIFF 2 a b WITHSCORES", "[x 1]"),
        ("ZDIFF 1 gone", "[]"),
        ("ZUNIONSTORE o 3 a b s", ":4"),
        ("ZRANGE o 0 -1 WITHSCORES", "[q 1 x 2 y 12 z 20]"),
        ("ZINTERSTORE o 2 a b WEIGHTS 1 inf", ":1"),
        ("ZSCORE o y", "inf"),
        ("ZDIFFSTORE o 2 a a", ":0"),
        ("EXISTS o", ":0"),
        ("ZINTERCARD 2 a b", ":1"),
        ("ZINTERCARD 2 a b LIMIT 0", ":1"),
        ("ZINTERCARD 0 a", "ERR at least 1 input key is needed for 'zintercard' command"),
        ("ZUNION 0 a", "ERR at least 1 input key is needed for 'zunion' command"),
        ("ZUNION x a", "ERR value is not an integer or out of range"),
        ("ZUNION 3 a b", "ERR syntax error"),
        ("ZUNION 2 a b WEIGHTS 1", "ERR syntax error"),
        ("ZUNION 2 a b WEIGHTS 1 x", "ERR weight value is not a float"),
        ("ZUNION 2 a b AGGREGATE AVG", "ERR syntax error"),
        ("ZUNIONSTORE o 2 a b WITHSCORES", "ERR syntax error"),
        ("ZUNIONSTORE a 1 a WEIGHTS 3", ":2"),
        ("ZRANGE a 0 -1 WITHSCORES", "[x 3 y 6]"),
        ("SET str x", "OK"),
        ("ZUNION 2 a str", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("ZUNIONSTORE str 1 a", ":2"),
        ("TYPE str", "zset"),
        ("ZSCAN a 0", "[0 [x 3 y 6]]"),
        ("ZSCAN a 0 MATCH x*", "[0 [x 3]]"),
    ]);
}

#[test]
fn places() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2"),
        ("GEOADD g NX 1 1 Palermo 2 2 new", ":1"),
        ("GEOADD g XX CH 13.5 38 Palermo 3 3 other", ":1"),
        ("GEOADD g 181 0 x", "ERR invalid longitude,latitude pair 181.000000,0.000000"),
        ("GEOADD g x 0 x", "ERR value is not a valid float"),
        ("GEOADD g 1 1", "ERR wrong number of arguments for 'geoadd' command"),
        ("GEOADD g NX XX 1 1 a", "ERR syntax error"),
        // In the digits of Redis 7; Redis 8 shows fewer.
        ("GEOPOS g Catania gone", "[[15.08726745843887329 37.50266842333162032] nil]"),
        ("GEOHASH g Catania gone", "[sqdtr74hyu0 nil]"),
        ("GEODIST g Palermo Catania", "150148.5551"),
        ("GEODIST g Palermo Catania km", "150.1486"),
        ("GEODIST g Palermo gone", "nil"),
        (
            "GEODIST g Palermo Catania parsec",
            "ERR unsupported unit provided. please use M, KM, FT, MI",
        ),
        ("GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC", "[Catania Palermo]"),
        (
            "GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km DESC WITHDIST",
            "[[Palermo 172.8860] [Catania 56.4413]]",
        ),
        ("GEOSEARCH g FROMMEMBER Palermo BYRADIUS 200 km ASC COUNT 1", "[Palermo]"),
        ("GEOSEARCH g FROMMEMBER gone BYRADIUS x km", "ERR could not decode requested zset member"),
        ("GEOSEARCH g FROMMEMBER Palermo BYRADIUS -1 km", "ERR radius cannot be negative"),
        ("GEOSEARCH g FROMMEMBER Palermo", "ERR wrong number of arguments for 'geosearch' command"),
        ("GEOSEARCH g BYRADIUS 1 m", "ERR wrong number of arguments for 'geosearch' command"),
        (
            "GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 m ANY",
            "ERR the ANY argument requires COUNT argument",
        ),
        ("GEOSEARCH g FROMMEMBER Palermo BYRADIUS 1 m COUNT 0", "ERR COUNT must be > 0"),
        (
            "GEOSEARCHSTORE o g FROMMEMBER Palermo BYRADIUS 1 m WITHDIST",
            "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
        ("GEOSEARCHSTORE o g FROMMEMBER Palermo BYRADIUS 200 km", ":2"),
        ("ZCARD o", ":2"),
        (
            "GEORADIUS g 15 37 200 km ASC WITHHASH",
            "[[Catania :3479447370796909] [Palermo :3479097324432493]]",
        ),
        ("GEORADIUSBYMEMBER g Palermo 200 km COUNT 1 DESC", "[Catania]"),
        ("GEORADIUSBYMEMBER gone x 1 nonsense", "[]"),
        ("GEORADIUS_RO g 15 37 1 km STORE x", "ERR syntax error"),
    ]);
}

#[test]
fn places_in_a_polygon() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2"),
        ("GEOADD g 12.758489 38.788135 Sea 17.241510 38.788135 Ionian", ":2"),
        // Distances are in metres, from the middle of the vertices.
        (
            "GEOSEARCH g BYPOLYGON 4 12 37 12 39 16 39 16 37 ASC WITHDIST WITHHASH",
            "[[Palermo 56987.4933 :3479099956230698] [Catania 111411.0839 :3479447370796909] \
              [Sea 138085.5878 :3479273021651468]]",
        ),
        ("GEOSEARCH g BYPOLYGON 4 12 37 12 39 16 39 16 37 COUNT 1", "[Palermo]"),
        ("GEOSEARCH g BYPOLYGON 4 12 37 12 39 16 39 16 37 COUNT 2 DESC", "[Sea Catania]"),
        ("GEOSEARCH g COUNT 9 ANY DESC BYPOLYGON 3 12 37 12 39 14 39", "[Sea]"),
        // Catania lies in a notch.
        ("GEOSEARCH g BYPOLYGON 4 12 37 14 38.5 16 37 14 39", "[Palermo]"),
        // No side leads over the edge of the map.
        ("GEOSEARCH g BYPOLYGON 4 170 38 170 39 -170 39 -170 38 ASC COUNT 1", "[Ionian]"),
        (
            "GEOSEARCH g BYPOLYGON 4 -180 -85 -180 85 180 85 180 -85 DESC",
            "[Catania Palermo Sea Ionian]",
        ),
        ("GEOSEARCH gone BYPOLYGON 3 12 37 12 39 14 39", "[]"),
        ("GEOSEARCHSTORE o g BYPOLYGON 3 12 37 12 39 14 39 STOREDIST", ":1"),
        ("ZSCORE o Sea", "5.0882680749464555e+4"),
        ("GEOSEARCHSTORE o gone BYPOLYGON 3 12 37 12 39 14 39", ":0"),
        ("EXISTS o", ":0"),
        (
            "GEOSEARCHSTORE o g BYPOLYGON 2 12 37 12 39",
            "ERR GEOSEARCH BYPOLYGON must have at least 3 vertices",
        ),
        ("GEOSEARCH g FROMMEMBER Palermo BYPOLYGON 3 12 37 12 39 14 39", "ERR syntax error"),
        (
            "GEOSEARCHSTORE o g BYPOLYGON 3 12 37 12 39 14 39 WITHDIST",
            "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
    ]);
}

#[test]
fn replicas_need_not_know_polygons() {
    let mut s = Server::start(&[]);
    s.check(&[("GEOADD g 12 38 a 13 38 b 20 38 c", ":3"), ("GEOADD g2 50 0 far", ":1")]);
    let mut replica = s.replication_stream();
    s.check(&[
        ("GEOSEARCHSTORE o g BYPOLYGON 4 11 37 11 39 14 39 14 37", ":2"),
        ("GEOSEARCHSTORE o g2 BYPOLYGON 4 11 37 11 39 14 39 14 37", ":0"),
        ("GEOSEARCHSTORE o g2 BYPOLYGON 3 50 -1 49 1 51 1 STOREDIST", ":1"),
        ("GEOSEARCHSTORE o gone BYPOLYGON 3 50 -1 49 1 51 1", ":0"),
        ("GEOSEARCHSTORE o gone BYPOLYGON 3 50 -1 49 1 51 1", ":0"),
        ("PING", "PONG"),
        ("SET last 1", "OK"),
    ]);
    replica.expect(&[
        "MULTI",
        "SELECT 0",
        "DEL o",
        "ZADD o * a * b",
        "EXEC",
        "DEL o",
        "MULTI",
        "DEL o",
        "ZADD o * far",
        "EXEC",
        "DEL o",
        "SET last 1",
    ]);
}

#[test]
fn sort() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("RPUSH l 3 1 2", ":3"),
        ("SORT l", "[1 2 3]"),
        ("SORT l DESC", "[3 2 1]"),
        ("SORT l LIMIT 1 1", "[2]"),
        ("SORT l LIMIT -1 -9223372036854775808", "[1 2 3]"),
        ("SORT l LIMIT 0 9223372036854775807", "[1 2 3]"),
        ("MSET w1 30 w2 20 w3 10 o1 one o2 two", "OK"),
        ("SORT l BY w*", "[3 2 1]"),
        ("SORT l BY w* GET # GET o*", "[3 nil 2 two 1 one]"),
        ("SORT l BY nosort", "[3 1 2]"),
        ("HSET h1 f 9", ":1"),
        ("HSET h2 f 8", ":1"),
        ("SORT l BY h*->f GET h*->f", "[nil 8 9]"),
        ("SORT l STORE out", ":3"),
        ("LRANGE out 0 -1", "[1 2 3]"),
        ("SORT gone STORE out", ":0"),
        ("EXISTS out", ":0"),
        ("RPUSH t b a c", ":3"),
        ("SORT t", "ERR One or more scores can't be converted into double"),
        ("SORT t ALPHA", "[a b c]"),
        ("SORT t ALPHA DESC LIMIT 0 2", "[c b]"),
        ("SORT_RO t ALPHA", "[a b c]"),
        ("SORT_RO t ALPHA STORE x", "ERR syntax error"),
        ("SORT t FOO", "ERR syntax error"),
        ("SORT t LIMIT 1", "ERR syntax error"),
        ("SORT t LIMIT a b", "ERR value is not an integer or out of range"),
        ("SADD s 2 10 1", ":3"),
        ("SORT s", "[1 2 10]"),
        ("ZADD z 3 a 1 b", ":2"),
        ("SORT z BY nosort DESC", "[a b]"),
        ("SORT z ALPHA", "[a b]"),
        ("SET str x", "OK"),
        ("SORT str", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn places_at_the_end_of_the_map_are_found() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("GEOADD g 180 0 east -180 0 west 0 85.05112878 north 0 -85.05112878 south", ":4"),
        ("GEOADD g 180 85.05112878 corner 179.9999 0 inside", ":2"),
        ("GEOSEARCH g FROMMEMBER east BYRADIUS 1 m", "[east]"),
        ("GEOSEARCH g FROMMEMBER west BYRADIUS 1 m", "[west]"),
        ("GEOSEARCH g FROMMEMBER north BYRADIUS 1 m", "[north]"),
        ("GEOSEARCH g FROMMEMBER south BYRADIUS 1 m", "[south]"),
        ("GEOSEARCH g FROMMEMBER corner BYBOX 10 10 km", "[corner]"),
        ("GEOSEARCH g FROMMEMBER east BYRADIUS 100 km ASC", "[east inside]"),
        ("GEOSEARCH g FROMLONLAT 180 85.05112878 BYRADIUS 0 m", "[corner]"),
        ("GEORADIUSBYMEMBER g north 0 m", "[north]"),
    ]);
}

#[test]
fn an_option_that_excludes_others_is_given_once() {
    let mut s = Server::start(&[]);
    s.check(&[
        ("ZADD z 1 a 2 b", ":2"),
        ("ZRANGE z 0 -1 REV REV", "ERR syntax error"),
        ("ZRANGE z 0 9 BYSCORE BYSCORE", "ERR syntax error"),
        ("ZRANGE z - + BYLEX BYLEX", "ERR syntax error"),
        ("ZRANGESTORE d z 0 -1 REV REV", "ERR syntax error"),
        ("ZRANGE z 0 9 BYSCORE WITHSCORES WITHSCORES LIMIT 0 2 LIMIT 0 1", "[a 1]"),
        // Of two faults the first is told.
        ("ZMPOP 1 z MIN COUNT 0 COUNT 2", "ERR count should be greater than 0"),
        ("ZMPOP 1 z MIN COUNT 1 COUNT 0", "ERR syntax error"),
        ("BZMPOP 0 1 z MIN COUNT 0 FOO", "ERR count should be greater than 0"),
        ("ZINCRBY z NX a", "ERR syntax error"),
        ("ZINCRBY z 1 NX", "1"),
    ]);
}
