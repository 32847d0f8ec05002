//! Clients of the group: they write all types of data, and now and then a marker that a replica must acknowledge.

use crate::line::Line;
use crate::network::SharedNetwork;
use crate::resp::integer;
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::VecDeque;

/// How long a client waits for an answer before it connects anew, in microseconds.
const PATIENCE: i64 = 3_000_000;

/// What a client waits for.
enum Awaited {
    /// Some answer.
    Any,
    /// The answer to the writing of a marker.
    Marker(String),
    /// The answer to `WAIT`, behind a marker that was written when the stream was at this offset.
    Wait { marker: String, offset: u64 },
}

/// What a client has learnt.
#[derive(Default)]
pub struct Learnt {
    /// Markers that the primary says are written.
    pub written: Vec<String>,
    pub acknowledged: Vec<Acknowledged>,
}

/// A marker that was acknowledged by at least one replica.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub marker: String,
    /// The primary's offset when it had been written.
    pub offset: u64,
    /// When it was asked for.
    pub since: i64,
}

pub struct Client {
    number: usize,
    line: Option<Line>,
    awaited: VecDeque<Awaited>,
    since: i64,
    pub next_at: i64,
    markers: usize,
}

impl Client {
    pub fn new(number: usize) -> Client {
        Client { number, line: None, awaited: VecDeque::new(), since: 0, next_at: 0, markers: 0 }
    }

    /// Goes away, as clients do.
    pub fn disconnect(&mut self) {
        self.line = None;
        self.awaited.clear();
    }

    /// Reads answers; sends a request if `target` is to be written to and none is awaited. `offset` is where the
    /// target's stream is.
    pub fn act(
        &mut self,
        network: &SharedNetwork,
        now: i64,
        target: Option<usize>,
        offset: u64,
        rng: &mut SmallRng,
    ) -> Learnt {
        let is_of_no_use = |line: &Line| line.is_dead() || target.is_some_and(|t| t != line.server);
        let tired = !self.awaited.is_empty() && now - self.since > PATIENCE;
        if tired || self.line.as_ref().is_some_and(is_of_no_use) {
            self.disconnect();
        }
        let learnt = self.read(offset);
        if let Some(target) = target
            && self.awaited.is_empty()
            && now >= self.next_at
        {
            let mut line = self.line.take().unwrap_or_else(|| Line::connect(network, target));
            self.request(&mut line, rng);
            self.line = Some(line);
            self.since = now;
            self.next_at = now + rng.random_range(100..60_000);
        }
        if let Some(line) = &mut self.line {
            line.send();
        }
        learnt
    }

    fn read(&mut self, offset: u64) -> Learnt {
        let mut learnt = Learnt::default();
        let Some(line) = &mut self.line else { return learnt };
        for reply in line.replies() {
            match self.awaited.pop_front() {
                Some(Awaited::Marker(marker)) if reply == b"+OK\r\n" => {
                    learnt.written.push(marker.clone());
                    if let Some(Awaited::Wait { marker: waiting, offset: at }) =
                        self.awaited.front_mut()
                    {
                        (*waiting, *at) = (marker, offset);
                    }
                }
                Some(Awaited::Wait { marker, offset })
                    if integer(&reply).is_some_and(|n| n >= 1) && !marker.is_empty() =>
                {
                    let since = self.since;
                    learnt.acknowledged.push(Acknowledged { marker, offset, since });
                }
                Some(_) => {}
                None => panic!("an answer to no request: {}", reply.escape_ascii()),
            }
        }
        learnt
    }

    fn request(&mut self, line: &mut Line, rng: &mut SmallRng) {
        if rng.random_bool(0.1) {
            self.markers += 1;
            let marker = format!("marker:{}:{}", self.number, self.markers);
            line.request(&["SELECT", "0"]);
            line.request(&["SET", &marker, "written"]);
            line.request(&["WAIT", "1", "1000"]);
            self.awaited.push_back(Awaited::Any);
            self.awaited.push_back(Awaited::Marker(marker));
            self.awaited.push_back(Awaited::Wait { marker: String::new(), offset: 0 });
            return;
        }
        let transaction = rng.random_bool(0.1);
        let count = if transaction { rng.random_range(1..6) } else { rng.random_range(1..20) };
        let mut requests: Vec<Vec<String>> = (0..count).map(|_| random_command(rng)).collect();
        if transaction {
            requests.insert(0, vec!["MULTI".to_string()]);
            requests.push(vec!["EXEC".to_string()]);
        }
        for request in requests {
            line.request(&request);
            self.awaited.push_back(Awaited::Any);
        }
    }
}

/// Commands of all families: `K` is a key of the command's type, `k` a second one, `N` a small number, `V` a value, `F`
/// a field or member, `T` a short time in milliseconds and `t` a very short one. A blank ends a word, so that scripts
/// have tabs.
const COMMANDS: &[&str] = &[
    "SELECT D",
    "SET s:K V",
    "SET s:K V PX T",
    "SETEX s:K 1 V",
    "APPEND s:K V",
    "SETRANGE s:K N V",
    "INCRBY n:K N",
    "INCRBYFLOAT n:K 0.N",
    "GETDEL s:K",
    "GETEX s:K PX T",
    "MSET s:K V s:k V",
    "SETBIT b:K N 1",
    "BITFIELD b:K INCRBY u8 N 7 OVERFLOW SAT SET u4 8 N",
    "BITOP XOR b:K b:k b:K",
    "PFADD p:K F F",
    "PFMERGE p:K p:k",
    "LPUSH l:K V V",
    "RPUSH l:K V F V",
    "LPOP l:K",
    "RPOP l:K N",
    "LINSERT l:K BEFORE F V",
    "LSET l:K 0 V",
    "LTRIM l:K 0 N",
    "LREM l:K 0 F",
    "LMOVE l:K l:k LEFT RIGHT",
    "BLMOVE l:K l:k LEFT LEFT 0.2",
    "BLPOP l:K l:k 0.1",
    "LMPOP 2 l:K l:k RIGHT COUNT N",
    "SADD t:K F F V",
    "SADD i:K N N",
    "SPOP t:K",
    "SPOP t:K N",
    "SREM t:K F",
    "SMOVE t:K t:k F",
    "SUNIONSTORE t:K t:k i:K",
    "SDIFFSTORE t:K t:k i:K",
    "HSET h:K F V F V",
    "HMSET h:K F V",
    "HSETNX h:K F V",
    "HINCRBY c:K F N",
    "HINCRBYFLOAT c:K F 1.N",
    "HDEL h:K F F",
    "HEXPIRE h:K 1 FIELDS 2 F F",
    "HPEXPIRE h:K t FIELDS 2 F F",
    "HPEXPIRE c:K t FIELDS 3 F F F",
    "HPEXPIRE h:K T GT FIELDS 1 F",
    "HPEXPIREAT h:K 1 FIELDS 1 F",
    "HPERSIST h:K FIELDS 2 F F",
    "HSETEX h:K PX t FIELDS 2 F V F V",
    "HSETEX c:K PX t FIELDS 3 F N F N F N",
    "HSETEX h:K KEEPTTL FIELDS 1 F V",
    "HSETEX h:K FNX EX 1 FIELDS 1 F V",
    "HSETEX h:K FXX PXAT 1 FIELDS 1 F V",
    "HGETEX h:K PX t FIELDS 2 F F",
    "HGETEX h:K PERSIST FIELDS 1 F",
    "HGETDEL h:K FIELDS 2 F F",
    "HGET c:K F",
    "HMGET h:K F F F",
    "HRANDFIELD h:K N",
    "HSCAN h:K 0",
    "HGETALL c:K",
    "PEXPIRE h:K T",
    "RENAME h:K h:k",
    "RENAMENX c:K c:k",
    "COPY c:K c:k",
    "MOVE h:K 1",
    "SORT i:K BY c:*->F GET # GET c:*->F STORE l:K",
    "ZADD z:K N F N V",
    "ZADD z:K GT CH N F",
    "ZINCRBY z:K 0.N F",
    "ZPOPMIN z:K",
    "ZREMRANGEBYRANK z:K 0 0",
    "ZUNIONSTORE z:K 2 z:K z:k WEIGHTS 1 N",
    "ZRANGESTORE z:K z:k 0 N",
    "BZPOPMAX z:K 0.1",
    "GEOADD g:K 13.N 38.N F",
    "XADD x:K * F V",
    "XADD x:K MAXLEN ~ N * F V F V",
    "XADD x:K MAXLEN N DELREF * F V",
    "XTRIM x:K MAXLEN N",
    "XTRIM x:K MAXLEN N ACKED",
    "XGROUP CREATE x:K group $ MKSTREAM",
    "XREADGROUP GROUP group F COUNT N STREAMS x:K >",
    "XAUTOCLAIM x:K group F 0 0 COUNT N",
    "XACK x:K group 1-1",
    "EXPIRE s:K 1",
    "PEXPIRE l:K T",
    "PEXPIRE z:K T",
    "PERSIST s:K",
    "DEL s:K t:K",
    "UNLINK z:K x:K",
    "RENAME s:K s:k",
    "RENAMENX t:K t:k",
    "COPY h:K h:k REPLACE",
    "MOVE s:K 1",
    "SWAPDB 1 2",
    "SORT i:K STORE l:K",
    "PUBLISH channel V",
    "EVAL redis.call('incr',KEYS[1])redis.call('rpush',KEYS[2],ARGV[1])redis.call('del',KEYS[3]) 3 n:K l:K s:K V",
    "EVAL local\tv=redis.call('spop',KEYS[1])if(v)then(redis.call)('sadd',KEYS[2],v)end 2 t:K t:k",
    "EVAL for\ti=0,2\tdo(redis.call)('select',i)redis.call('set',KEYS[1],math.random(99))end 1 s:K",
    "EVAL local\tn=redis.call('hget',KEYS[1],ARGV[1])redis.call('hincrby',KEYS[1],ARGV[1],n\tor\t5)redis.call('hpexpire',KEYS[1],ARGV[2],'fields',1,ARGV[1]) 1 c:K F t",
    "EVAL for\t_,f\tin\tipairs(redis.call('hkeys',KEYS[1]))do(redis.call)('hsetnx',KEYS[2],f,1)end 2 h:K c:k",
    "EVAL if(redis.call('hexists',KEYS[1],ARGV[1])==0)then(redis.call)('hsetnx',KEYS[1],ARGV[1],ARGV[2])end 1 h:K F V",
    "FUNCTION LOAD REPLACE #!lua\tname=one\nredis.register_function('f',function(k,a)redis.call('set',k[1],a[1])end)",
    "FUNCTION LOAD REPLACE #!lua\tname=two\nredis.register_function('f',function(k,a)redis.call('append',k[1],a[1])end)",
    "FCALL f 1 s:K V",
    "FUNCTION DELETE one",
    "FUNCTION FLUSH",
];

fn random_command(rng: &mut SmallRng) -> Vec<String> {
    if rng.random_bool(0.002) {
        return vec!["SELECT".to_string(), "0".to_string()];
    }
    let template = COMMANDS[rng.random_range(0..COMMANDS.len())];
    template.split(' ').map(|word| fill(word, rng)).collect()
}

fn fill(word: &str, rng: &mut SmallRng) -> String {
    let mut number = |most: u32| rng.random_range(0..most).to_string();
    match word {
        "D" => number(3),
        "N" => number(20),
        "T" => format!("1{}", number(900)),
        "t" => number(300),
        "F" => format!("f{}", number(20)),
        "V" => {
            let length = [3, 10, 40, 300][rng.random_range(0..4)];
            (0..length).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
        }
        _ if word.ends_with(":K") || word.ends_with(":k") => {
            format!("{}{}", &word[..2], number(12))
        }
        _ if word.ends_with("->F") => format!("{}f{}", &word[..word.len() - 1], number(20)),
        _ if word.ends_with(".N") => format!("{}{}", &word[..word.len() - 1], number(99)),
        _ => word.to_string(),
    }
}
