//! The text of `INFO`, to be read again by whoever shows it in another form.

/// The fields of a text.
pub struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    pub fn of(text: &'a str) -> Fields<'a> {
        Fields(text.lines().filter_map(|line| line.split_once(':')).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }

    /// A field, empty if it is not there.
    pub fn get(&self, field: &str) -> &'a str {
        self.iter().find(|(name, _)| *name == field).map_or("", |(_, value)| value)
    }

    /// Fields called so and numbered, as `slave0` is: each as a list of names and values.
    pub fn numbered(&self, name: &str) -> impl Iterator<Item = (&'a str, Parts<'a>)> {
        let is_numbered = move |field: &str| {
            let number = field.strip_prefix(name);
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let found = self.iter().filter(move |(field, _)| is_numbered(field));
        found.map(|(field, value)| (field, Parts(value)))
    }
}

/// A value of the form `a=1,b=2`.
#[derive(Clone, Copy)]
pub struct Parts<'a>(&'a str);

impl<'a> Parts<'a> {
    /// A part, empty if it is not there.
    pub fn get(self, name: &str) -> &'a str {
        let mut parts = self.0.split(',').filter_map(|part| part.split_once('='));
        parts.find(|(part, _)| *part == name).map_or("", |(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn fields_and_their_parts_are_found() {
        let text = "# Replication\r\nrole:master\r\nslave0:ip=::1,port=7\r\nslave_x:ip=2\r\nslave10:ip=3\r\n";
        let fields = Fields::of(text);
        assert_eq!((fields.get("role"), fields.get("none")), ("master", ""));
        let found: Vec<_> = fields.numbered("slave").map(|(name, p)| (name, p.get("ip"))).collect();
        assert_eq!(found, [("slave0", "::1"), ("slave10", "3")]);
        assert_eq!(fields.numbered("slave").next().unwrap().1.get("port"), "7");
    }
}
