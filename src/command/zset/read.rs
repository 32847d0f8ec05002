//! Asking about single members and about how many there are; members by chance; scanning.

use super::super::args::{self, int_between, is};
use super::super::random::{WALK_FROM, reply_repeated};
use super::super::scan::{ScanOptions, reply_scan, scan_steps, without_flag};
use super::{NOT_A_LEX_RANGE, NOT_A_SCORE_RANGE, reply_element, reply_elements, reply_member};
use crate::ds::listpack::INT_TEXT_MAX;
use crate::resp::error::{CommandError, CommandResult};
use crate::resp::reply::Reply;
use crate::server::Server;
use crate::server::call::Call;
use crate::util::number::{MAX_F64_CHARS, fmt_f64, general_format};
use crate::value::zset::{LexRange, ScoreRange, Zset};
use rand::seq::index;
use rand::{Rng, RngCore};

/// ZCARD key
pub fn zcard(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let len = s.ks.read::<Zset>(call.db, args[1])?.map_or(0, Zset::len);
    call.reply.int(len as i64);
    Ok(())
}

/// ZSCORE key member
pub fn zscore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    reply_score(&mut call.reply, zset, args[2]);
    Ok(())
}

/// ZMSCORE key member [member ...]
pub fn zmscore(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    call.reply.array(args.len() - 2);
    for member in &args[2..] {
        reply_score(&mut call.reply, zset, member);
    }
    Ok(())
}

fn reply_score(reply: &mut Reply, zset: Option<&Zset>, member: &[u8]) {
    match zset.and_then(|zset| zset.score(member)) {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// ZRANK key member [WITHSCORE]
pub fn zrank(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    zrank_generic(s, call, args, false)
}

/// ZREVRANK key member [WITHSCORE]
pub fn zrevrank(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    zrank_generic(s, call, args, true)
}

fn zrank_generic(s: &mut Server, call: &mut Call, args: &[&[u8]], reverse: bool) -> CommandResult {
    let with_score = match args[3..] {
        [] => false,
        [option] if is(option, "WITHSCORE") => true,
        [_] => return Err(CommandError::SYNTAX),
        _ => {
            let name = if reverse { "zrevrank" } else { "zrank" };
            return Err(CommandError::err_with(format!(
                "wrong number of arguments for '{name}' command"
            )));
        }
    };
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    let place = zset.and_then(|zset| {
        let (rank, score) = zset.rank(args[2])?;
        Some((if reverse { zset.len() - 1 - rank } else { rank }, score))
    });
    match place {
        Some((rank, score)) if with_score => {
            call.reply.array(2);
            call.reply.int(rank as i64);
            call.reply.double(score);
        }
        Some((rank, _)) => call.reply.int(rank as i64),
        None if with_score => call.reply.null_array(),
        None => call.reply.null(),
    }
    Ok(())
}

/// ZCOUNT key min max
pub fn zcount(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let range = ScoreRange::parse(args[2], args[3]).ok_or(NOT_A_SCORE_RANGE)?;
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    call.reply.int(zset.map_or(0, |zset| zset.ranks_by_score(&range).len()) as i64);
    Ok(())
}

/// ZLEXCOUNT key min max
pub fn zlexcount(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let range = LexRange::parse(args[2], args[3]).ok_or(NOT_A_LEX_RANGE)?;
    let zset = s.ks.read::<Zset>(call.db, args[1])?;
    call.reply.int(zset.map_or(0, |zset| zset.ranks_by_lex(&range).len()) as i64);
    Ok(())
}

/// ZRANDMEMBER key [count [WITHSCORES]]
pub fn zrandmember(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let Some(count) = args.get(2) else {
        let zset = s.ks.read::<Zset>(call.db, args[1])?;
        match zset.and_then(|zset| zset.random(&mut || s.rng.next_u64())) {
            Some((member, _)) => reply_member(&mut call.reply, member),
            None => call.reply.null(),
        }
        return Ok(());
    };
    let count = int_between(count, -i64::MAX, i64::MAX, None)?;
    let with_scores = match args[3..] {
        [] => false,
        [option] if is(option, "WITHSCORES") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    if with_scores && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
        return Err(CommandError::err("value is out of range"));
    }
    let wanted = count.unsigned_abs() as usize;
    let Some(zset) = s.ks.read::<Zset>(call.db, args[1])?.filter(|_| wanted > 0) else {
        call.reply.array(0);
        return Ok(());
    };
    let len = zset.len();
    // A compact set is gone through once, not once for each element.
    let walks = zset.listpack().is_some() && wanted >= WALK_FROM;
    let compact: Vec<_> = if walks { zset.iter().collect() } else { Vec::new() };
    if count < 0 {
        // With repetitions: each for itself.
        reply_elements(&mut call.reply, wanted, with_scores);
        return reply_repeated(&mut call.reply, wanted, |reply| {
            let element = match walks {
                true => compact.get(s.rng.random_range(0..len)).copied(),
                false => zset.random(&mut || s.rng.next_u64()),
            };
            element.map(|element| reply_element(reply, element, with_scores)).is_some()
        });
    }
    if wanted >= len {
        reply_elements(&mut call.reply, len, with_scores);
        zset.iter().for_each(|element| reply_element(&mut call.reply, element, with_scores));
    } else {
        reply_elements(&mut call.reply, wanted, with_scores);
        for rank in index::sample(&mut s.rng, len, wanted) {
            let element = match walks {
                true => compact.get(rank).copied(),
                false => zset.range(rank..rank + 1).next(),
            };
            if let Some(element) = element {
                reply_element(&mut call.reply, element, with_scores);
            }
        }
    }
    Ok(())
}

/// ZSCAN key cursor [MATCH pattern] [COUNT count] [NOSCORES]
pub fn zscan(s: &mut Server, call: &mut Call, args: &[&[u8]]) -> CommandResult {
    let mut cursor = args::cursor(args[2])?;
    let mut found = call.reply.part();
    let Some(zset) = s.ks.read::<Zset>(call.db, args[1])? else {
        reply_scan(&mut call.reply, 0, 0, found);
        return Ok(());
    };
    let is_packed = zset.listpack().is_some();
    let (options, no_scores) = without_flag(&args[3..], "NOSCORES");
    let options = ScanOptions::parse(&options)?;
    let mut n = 0;
    cursor = scan_steps(&options, |visited| {
        cursor = zset.scan(cursor, |member, score| {
            *visited += 1;
            if options.matches(member.to_bytes(&mut [0; INT_TEXT_MAX])) {
                reply_member(&mut found, member);
                n += 1;
                if !no_scores {
                    // Redis computes the text of a score that it does not keep as text.
                    match is_packed {
                        true => found.bulk(fmt_f64(score, &mut [0; MAX_F64_CHARS])),
                        false => found.bulk_str(&general_format(score, 17)),
                    }
                    n += 1;
                }
            }
        });
        cursor
    });
    reply_scan(&mut call.reply, cursor, n, found);
    Ok(())
}
