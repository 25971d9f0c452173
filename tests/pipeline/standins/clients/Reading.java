import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** What a tool does that knows ClickHouse by JDBC: url and table are its arguments. */
public class Reading {
    public static void main(String[] arguments) throws Exception {
        String table = arguments[1];
        try (Connection connection = DriverManager.getConnection(arguments[0], "default", "")) {
            System.out.println("version " + connection.getMetaData().getDatabaseProductVersion());
            String sql = "SELECT a, s, t, n FROM " + table + " WHERE a < ? ORDER BY a";
            try (PreparedStatement asked = connection.prepareStatement(sql)) {
                asked.setLong(1, 2);
                try (ResultSet rows = asked.executeQuery()) {
                    while (rows.next()) {
                        System.out.println(rows.getLong(1) + " " + rows.getString(2) + " "
                            + rows.getTimestamp(3).toInstant() + " " + rows.getObject(4));
                    }
                }
            }
            long sum = 0;
            try (Statement all = connection.createStatement();
                    ResultSet rows = all.executeQuery("SELECT number FROM numbers(20000)")) {
                while (rows.next()) {
                    sum += rows.getLong(1);
                }
            }
            System.out.println("sum " + sum);
            try (Statement write = connection.createStatement()) {
                write.execute("DROP TABLE " + table);
                System.out.println("dropped");
            } catch (SQLException refused) {
                System.out.println("refused " + refused.getMessage().contains("read-only"));
            }
        }
    }
}
