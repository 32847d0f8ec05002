//! Local time, as log lines show it.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time in microseconds since 1970, as `01 Jan 2026 00:00:00.000`.
pub fn local_timestamp(unix_us: i64) -> String {
    let tm = local_parts(unix_us.div_euclid(1_000_000));
    let time = time_of_day(&tm, (unix_us.rem_euclid(1_000_000) / 1000) as u32);
    let month = MONTHS[tm.tm_mon.clamp(0, 11) as usize];
    format!("{:02} {month} {} {time}", tm.tm_mday, tm.tm_year + 1900)
}

/// A time in microseconds since 1970, as `2026-01-01T00:00:00.000+00:00`.
pub fn iso8601(unix_us: i64) -> String {
    let tm = local_parts(unix_us.div_euclid(1_000_000));
    let time = time_of_day(&tm, (unix_us.rem_euclid(1_000_000) / 1000) as u32);
    let minutes = tm.tm_gmtoff / 60;
    let (sign, minutes) = if minutes < 0 { ('-', -minutes) } else { ('+', minutes) };
    let (year, month, day) = (tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    format!("{year}-{month:02}-{day:02}T{time}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A time in microseconds since 1970, as `01 Jan 00:00:00.000`.
pub fn local_day_and_time(unix_us: i64) -> String {
    let tm = local_parts(unix_us.div_euclid(1_000_000));
    let time = time_of_day(&tm, (unix_us.rem_euclid(1_000_000) / 1000) as u32);
    format!("{:02} {} {time}", tm.tm_mday, MONTHS[tm.tm_mon.clamp(0, 11) as usize])
}

fn time_of_day(tm: &libc::tm, millis: u32) -> String {
    format!("{:02}:{:02}:{:02}.{millis:03}", tm.tm_hour, tm.tm_min, tm.tm_sec)
}

fn local_parts(seconds: libc::time_t) -> libc::tm {
    // SAFETY: a tm of zeros is valid, and localtime_r writes only into it.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&seconds, &mut tm);
        tm
    }
}
