-- For wrk: no two heads are alike, as with clients that differ and have cookies.
local number = 0

request = function()
  number = number + 1
  return wrk.format("GET", "/?page=" .. number, {
    ["Host"] = wrk.headers["Host"],
    ["Cookie"] = "id=" .. number,
  })
end
